"""Training by steps and epochs; what cannot be learnt from is refused before it has changed anything."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jittor as jt
import numpy as np
import numpy.typing as npt
from jittor import Var, nn

from detr_common.errors import NotFiniteError
from detr_common.evaluate import Found
from detr_common.finite import Watch, check_images, check_losses, check_mask_logits, gradients_told, told
from detr_common.jittor_ready import preserving_random_state
from detr_common.run import Means, evaluation_of
from detr_jt.criterion import total_loss
from detr_jt.optimizer import AdamW, backward, clip_grad_norm, drop_gradients, gradients
from detr_jt.postprocess import postprocess
from detr_jt.processes import bare, gather

Array = npt.NDArray[Any]
Images = Sequence[Array]
Targets = Sequence[Mapping[str, Array]]


def train_one_epoch(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: AdamW,
    batches: Iterable[tuple[Images, Targets]],
    max_norm: float,
    means: Means,
    seeds: Iterable[int] | None = None,
    after_step: Callable[[dict[str, float]], bool] = lambda _: True,
) -> None:
    """Take one step of training for each batch.

    Args:
        model: see ``train_step``, as for the next two.
        criterion: as said.
        optimizer: as said.
        batches: images and targets.
        max_norm: as said.
        means: to which what each step returns is added.
        seeds: of the dropout of each step; without them the framework's generator goes on from where it is.
        after_step: called with what a step returned; False ends the epoch there.

    Raises:
        InputError: see ``train_step``.
        NotFiniteError: see ``train_step``.
    """
    set_training(model, True)
    set_training(criterion, True)
    drawn = None if seeds is None else iter(seeds)
    for images, targets in batches:
        if drawn is not None:
            set_seed(next(drawn))
        values = train_step(model, criterion, optimizer, images, targets, max_norm)
        means.add(values)
        if not after_step(values):
            return


def evaluate(
    model: nn.Module,
    criterion: nn.Module,
    postprocessors: Mapping[str, nn.Module],
    batches: Iterable[tuple[Images, Targets]],
) -> tuple[Means, Found]:
    """Run the detector on each batch, without learning from it.

    Args:
        model: the detector.
        criterion: its losses.
        postprocessors: see ``detr_jt.postprocess.postprocess``.
        batches: images and targets, with ``image_id``, ``orig_size`` and ``size``.

    Returns:
        The means of all losses, and what was found; of all processes.

    Raises:
        InputError: a target cannot be used.
        NotFiniteError: a prediction is NaN or infinite; see ``train_step``.
    """
    set_training(model, False)
    set_training(criterion, False)
    losses: list[dict[str, float]] = []
    found = Found()
    with jt.no_grad():
        for images, targets in batches:
            samples = to_samples(model, images)
            values, outputs, _ = forward(model, criterion, samples, targets)
            losses.append(values)
            if "pred_masks" in outputs:
                check_mask_logits(outputs["pred_masks"].numpy())
            sizes = [
                jt.array(np.stack([target[key] for target in targets]), dtype="int64") for key in ("orig_size", "size")
            ]
            for target, result, panoptic in zip(targets, *postprocess(postprocessors, outputs, *sizes), strict=True):
                arrays = {name: value.numpy() for name, value in result.items()}
                found.add(int(target["image_id"][0]), arrays, panoptic)
    return evaluation_of(gather((losses, found)))


def train_step(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: AdamW,
    images: Images,
    targets: Targets,
    max_norm: float,
) -> dict[str, float]:
    """Take one step of training.

    Args:
        model: the detector, in training mode.
        criterion: its losses, with the weights of their sum.
        optimizer: of the model's parameters.
        images: float32 [3, H, W] each, of any sizes.
        targets: for each image ``labels``, int64 [n], and ``boxes``, float32 [n, 4] as (cx, cy, w, h).
        max_norm: largest norm of all gradients together; 0 for any.

    Returns:
        Every loss by its name, ``loss``, their weighted sum, and ``grad_norm`` before clipping; over all processes.

    Raises:
        InputError: a target cannot be used.
        NotFiniteError: an image, a prediction, a loss or a gradient is NaN or infinite. The message names the module
            that the first such value came from; parameters and moments are as before.
    """
    samples = to_samples(model, images)
    losses, _, total = forward(model, criterion, samples, targets)
    backward(optimizer, total)
    norm = float(clip_grad_norm(optimizer, max_norm))
    if not math.isfinite(norm):
        _, _, total = forward(model, criterion, samples, targets)
        backward(optimizer, total)
        raise NotFiniteError(gradients_told(norm, largest_gradients(optimizer)))
    optimizer.step()
    # Left for later, the update would be run as one with what comes next, and round otherwise before a checkpoint.
    jt.sync_all()
    drop_gradients(optimizer)
    return mean_over_processes({**losses, "grad_norm": norm})


def mean_over_processes(values: dict[str, float]) -> dict[str, float]:
    """Return the mean of each value over all processes."""
    everywhere = gather(values)
    return {name: sum(one[name] for one in everywhere) / len(everywhere) for name in values}


def to_samples(model: nn.Module, images: Images) -> list[Var]:
    """Return images as the model takes them.

    Raises:
        NotFiniteError: a value is NaN or infinite.
    """
    check_images(images)
    dtype = str(model.parameters()[0].dtype)
    return [jt.array(np.asarray(image), dtype=dtype).stop_grad() for image in images]


def set_training(module: nn.Module, training: bool) -> None:
    """Turn dropout on or off."""
    # Not eval(), which stops every gradient.
    for one in module.modules():
        one.is_train = training


def set_seed(seed: int) -> None:
    """Seed the framework's own generator."""
    with preserving_random_state():
        jt.set_global_seed(seed)


def forward(
    model: nn.Module, criterion: nn.Module, samples: Sequence[Var], targets: Targets
) -> tuple[dict[str, float], dict[str, Any], Var]:
    """Return every loss and ``loss``, their weighted sum, as numbers; the predictions; and that sum with its graph."""
    dtype = str(model.parameters()[0].dtype)
    there = [
        {
            "labels": jt.array(np.asarray(target["labels"]), dtype="int64"),
            "boxes": jt.array(np.asarray(target["boxes"]), dtype=dtype),
        }
        for target in targets
    ]
    if "masks" in criterion.losses:
        for one, target in zip(there, targets, strict=True):
            one["masks"] = jt.array(np.ascontiguousarray(target["masks"]), dtype="bool")
    try:
        outputs = model(samples)
        losses = criterion(outputs, there)
        total = total_loss(losses, criterion.weight_dict)
        values = {name: float(value.item()) for name, value in {**losses, "loss": total}.items()}
        check_losses(values)
    except NotFiniteError as error:
        raise NotFiniteError(f"{error}; {first_not_finite(bare(model), samples)}") from error
    return values, outputs, total


def largest_gradients(optimizer: AdamW) -> dict[str, float]:
    """Return the largest absolute value of the gradient of each parameter by its name."""
    return {name: float(np.abs(value.numpy()).max()) for name, value in gradients(optimizer).items()}


def first_not_finite(model: nn.Module, samples: Sequence[Var]) -> str:
    """Run the model again and say where the first value that is not finite comes from."""

    def finite(value: object) -> bool:
        return not (isinstance(value, Var) and value.dtype.is_float()) or bool(np.isfinite(value.numpy()).all())

    watch = Watch({id(module): name or "(root)" for name, module in model.named_modules()}, finite)
    with jt.no_grad(), watching(model, watch):
        model(samples)
    return told(watch.story)


@contextmanager
def watching(model: nn.Module, watch: Watch) -> Iterator[None]:
    """Let ``watch`` see what each module is given and returns."""
    names = {id(module) for module in model.modules()}
    plain = nn.Module.__call__

    def watched(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if id(module) not in names:
            return plain(module, *args, **kwargs)
        watch.enter(module, (args, kwargs))
        output = plain(module, *args, **kwargs)
        watch.leave({name: value for name, value in module.named_parameters() if "." not in name}, output)
        return output

    # Jittor has a single slot for hooks, which may be taken.
    nn.Module.__call__ = watched
    try:
        yield
    finally:
        nn.Module.__call__ = plain
