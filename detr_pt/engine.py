"""Training by steps and epochs; what cannot be learnt from is refused before it has changed anything."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from detr_common.errors import NotFiniteError
from detr_common.finite import Watch, check_losses, told
from detr_pt.criterion import total_loss
from detr_pt.optimizer import AdamW, backward, clip_grad_norm, gradients

Array = npt.NDArray[Any]
Images = Sequence[Array]
Targets = Sequence[Mapping[str, Array]]


def train_one_epoch(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: AdamW,
    batches: Iterable[tuple[Images, Targets]],
    max_norm: float,
    after_step: Callable[[dict[str, float]], None] = lambda _: None,
) -> dict[str, float]:
    """Take one step of training for each batch.

    Args:
        model: see ``train_step``, as for the next two.
        criterion: as said.
        optimizer: as said.
        batches: images and targets.
        max_norm: as said.
        after_step: called with what each step returned.

    Returns:
        The mean over the steps of what they returned; empty without a batch.

    Raises:
        InputError: see ``train_step``.
        NotFiniteError: see ``train_step``.
    """
    model.train()
    criterion.train()
    sums: dict[str, float] = {}
    count = 0
    for images, targets in batches:
        values = train_step(model, criterion, optimizer, images, targets, max_norm)
        after_step(values)
        sums = {name: sums.get(name, 0.0) + value for name, value in values.items()}
        count += 1
    return {name: value / count for name, value in sums.items()}


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
        Every loss by its name, ``loss``, their weighted sum, and ``grad_norm`` before clipping.

    Raises:
        InputError: a target cannot be used.
        NotFiniteError: a prediction, a loss or a gradient is NaN or infinite. The message names the module that the
            first such value came from; parameters and moments are as before.
    """
    like = next(model.parameters())
    samples = [torch.from_numpy(np.asarray(image)).to(like) for image in images]
    losses, total = forward(model, criterion, samples, targets)
    backward(optimizer, total)
    norm = float(clip_grad_norm(optimizer, max_norm))
    if not math.isfinite(norm):
        _, total = forward(model, criterion, samples, targets)
        backward(optimizer, total)
        raise NotFiniteError(gradients_told(optimizer, norm))
    optimizer.step()
    return {**losses, "grad_norm": norm}


def forward(
    model: nn.Module, criterion: nn.Module, samples: Sequence[Tensor], targets: Targets
) -> tuple[dict[str, float], Tensor]:
    """Return every loss and ``loss``, their weighted sum, as numbers, and that sum with its graph."""
    like = next(model.parameters())
    there = [
        {
            "labels": torch.from_numpy(np.asarray(target["labels"])).to(like.device),
            "boxes": torch.from_numpy(np.asarray(target["boxes"])).to(like),
        }
        for target in targets
    ]
    try:
        losses = criterion(model(samples), there)
        total = total_loss(losses, criterion.weight_dict)
        values = {name: float(value.detach()) for name, value in {**losses, "loss": total}.items()}
        check_losses(values)
    except NotFiniteError as error:
        raise NotFiniteError(f"{error}; {first_not_finite(model, samples)}") from error
    return values, total


def gradients_told(optimizer: AdamW, norm: float) -> str:
    """Say which gradients are not finite."""
    wrong = [name for name, value in gradients(optimizer).items() if not bool(torch.isfinite(value).all())]
    shown = ", ".join(wrong[:5]) + (" ..." if len(wrong) > 5 else "")
    return f"the norm of the gradients is {norm}; {len(wrong)} gradients are not finite: {shown}"


def first_not_finite(model: nn.Module, samples: Sequence[Tensor]) -> str:
    """Run the model again and say where the first value that is not finite comes from."""

    def finite(value: object) -> bool:
        return not (isinstance(value, Tensor) and value.is_floating_point()) or bool(torch.isfinite(value).all())

    watch = Watch({id(module): name or "(root)" for name, module in model.named_modules()}, finite)
    with torch.no_grad(), watching(model, watch):
        model(samples)
    return told(watch.story)


@contextmanager
def watching(model: nn.Module, watch: Watch) -> Iterator[None]:
    """Let ``watch`` see what each module is given and returns."""
    handles = []
    for module in model.modules():
        handles.append(
            module.register_forward_pre_hook(lambda m, args, kwargs: watch.enter(m, (args, kwargs)), with_kwargs=True)
        )
        handles.append(
            module.register_forward_hook(
                lambda m, _, output: watch.leave(dict(m.named_parameters(recurse=False)), output)
            )
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
