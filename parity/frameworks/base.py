"""The protocol that an adapter fulfils."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from parity.trace import Entry

Array = npt.NDArray[Any]
EmitEntry = Callable[[Entry], None]
NoteStep = Callable[[int, int, dict[str, float]], None]
# Steps are told apart by their number in the epoch, epochs by this.
EPOCH_STEPS = 2**20

# The name under which post-processing stands in a trace, beside the model's modules.
POSTPROCESS = "postprocess"
# Its parts, by the kind of result.
POSTPROCESSORS = {"bbox": POSTPROCESS, "segm": f"{POSTPROCESS}.segm", "panoptic": f"{POSTPROCESS}.panoptic"}

# Likewise for the losses; their modules stand below it.
CRITERION = "criterion"


class Feed(Protocol):
    """What a training pass runs on: inputs and targets."""

    def arrays(self) -> dict[str, Array]:
        """Return the parts by name, to be sent; the adapter puts them together again."""


@dataclass(frozen=True)
class Batch:
    """What a training pass runs on.

    Attributes:
        images: float32 [3, H, W] each.
        labels: for each image, int64 [n].
        boxes: for each image, float32 [n, 4] as (cx, cy, w, h), fractions of the image.
        masks: for each image, bool [n, H, W]; for none if nothing is to be learnt of them.
    """

    images: Sequence[Array]
    labels: Sequence[Array]
    boxes: Sequence[Array]
    masks: Sequence[Array] = ()

    def arrays(self) -> dict[str, Array]:
        """Return the parts by name, to be sent."""
        parts = {"image": self.images, "labels": self.labels, "boxes": self.boxes, "masks": self.masks}
        return {f"{kind}.{i}": array for kind, arrays in parts.items() for i, array in enumerate(arrays)}

    @staticmethod
    def of(arrays: Mapping[str, Array]) -> Batch:
        """Return what ``arrays`` has taken apart."""

        def parts(kind: str) -> list[Array]:
            return [array for name, array in arrays.items() if name.startswith(f"{kind}.")]

        return Batch(parts("image"), parts("labels"), parts("boxes"), parts("masks"))

    @staticmethod
    def from_targets(images: Sequence[Array], targets: Sequence[Mapping[str, Array]]) -> Batch:
        """Return what ``detr_common.coco`` or ``fixtures`` have of a batch."""
        with_masks = all("masks" in target for target in targets)
        labels, boxes = ([target[key] for target in targets] for key in ("labels", "boxes"))
        return Batch(images, labels, boxes, [target["masks"] for target in targets] if with_masks else ())

    def targets(self) -> list[dict[str, Array]]:
        """Return the target of each image, with as many entries as there are."""
        parts = {"labels": self.labels, "boxes": self.boxes, "masks": self.masks}
        return [{key: part[i] for key, part in parts.items() if part} for i in range(len(self.images))]


class Passes(Protocol):
    """The passes of training that the harness asks of a framework."""

    def choose(self, batch: Any) -> dict[str, Array]:
        """Run the losses and return each choice that a module made: a ReLU's mask, a pool's indices, the matching.

        Names are of the modules (``parity.choices``), and ``wanted/...`` with an empty array for each tensor that the
        total loss has a gradient of.
        """

    def losses(self, batch: Any, emit: EmitEntry) -> None:
        """Run detector and criterion, and emit predictions, what crosses the criterion's modules, and each loss."""

    def gradients(self, batch: Any, given: Mapping[str, Array], split: bool, emit: EmitEntry) -> None:
        """Emit the gradient of the total loss with respect to parameters and to what crosses modules.

        Args:
            batch: what to run on.
            given: what ``choose`` returned in the run to follow; its choices are imposed where they are in it.
            split: also emit what flows back through each module alone.
            emit: receives ``gradout/MODULE``, ``gradin/MODULE(ARGUMENT)`` and ``grad/PARAMETER``.
        """

    def told(self) -> dict[str, Array]:
        """Return what there is to tell of the last pass of gradients: ``choices``, given and followed, or nothing."""

    def prepare(self) -> None:
        """Put the detector in training mode, with a new optimizer and a new schedule of learning rates."""

    def finish(self) -> None:
        """Forget the optimizer, with all that it keeps of the parameters, and their gradients."""

    def step(
        self, order: Mapping[str, Any], batch: Any, given: Mapping[str, Array], emit: EmitEntry
    ) -> dict[str, Array]:
        """Take one step of training.

        Args:
            order: ``number``, from 0; ``seed`` of the dropout masks; ``forced``, whether the gradients are drawn
                (``parity.chance``) and not computed; ``drop``, whether the schedule moves on afterwards.
            batch: what to train on, unless the gradients are drawn.
            given: choices to impose, if there are any in it.
            emit: receives ``step0/...``: losses, clip norm, learning rates, parameters; when forced, moments as well.

        Returns:
            The choices that it made itself.
        """


class Adapter(Protocol):
    """What the harness asks of a framework.

    Attributes:
        name: of the framework.
    """

    name: str

    @property
    def training(self) -> Passes:
        """Passes of training on what ``build`` has built."""

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return what holds while a pass runs: precision and flags of the framework."""

    def release(self) -> None:
        """Give back what memory the framework keeps for the next pass."""

    def feed(self, arrays: Mapping[str, Array]) -> Any:
        """Put together what ``Feed.arrays`` took apart, for the passes of training."""

    def environment(self) -> dict[str, str]:
        """Return versions and flags, for the manifest."""

    def build(self, args: argparse.Namespace, weights: Path | None, twin: int = 0) -> None:
        """Build the detector in evaluation mode and load weights into it.

        Args:
            args: options of the detector.
            weights: the checkpoint; None for the model's own, which detectors have not.
            twin: not 0: compute without oneDNN and cuDNN, from weights moved by one ulp, by coins of this seed.

        Raises:
            InputError: the weights do not fit.
        """

    def modules(self) -> list[str]:
        """Return the names of all modules, the criterion's and post-processing included."""

    def unused(self) -> list[str]:
        """Return the rules of renaming, and paths to ignore, that fitted nothing in the model."""

    def resting(self) -> list[str]:
        """Return those that need not run, since they only hold others."""

    def in_training(self) -> dict[str, dict[str, Any]]:
        """Return the modules that do something else in training (``parity.frameworks.modes``)."""

    def plant(self, mutant: str) -> None:
        """Plant a known fault in the model (``parity.mutants``)."""

    def train(self, args: argparse.Namespace, twin: int, note: NoteStep) -> None:
        """Train as the package's own program does, with masks of dropouts that are the same in both frameworks.

        Args:
            args: options of the program; they are checked.
            twin: not 0: begin with weights moved by one ulp, by coins of this seed; PyTorch only.
            note: called with the epoch, the number of the step in it, and what the step returned.

        Raises:
            InputError: see the package's ``Trainer``.
        """

    def pad(self, images: Sequence[npt.NDArray[np.float32]]) -> dict[str, Array]:
        """Make a batch of [3, H, W] images; return ``images`` [B, 3, H, W] and ``mask``, bool [B, H, W]."""

    def operations(self, arrays: Mapping[str, Array], emit: EmitEntry) -> None:
        """Run the model as ``forward`` does and emit the result of every operation in short.

        Args:
            arrays: what to run on, as it was sent.
            emit: receives ``op/MODULE/OPERATION#K`` with float64 [4] (``parity.recording.operations.in_short``).
        """

    def export(self, path: Path) -> None:
        """Write the weights that ``build`` gave the model to a safetensors file."""

    def forward(
        self, arrays: Mapping[str, Array], emit: EmitEntry | None, request: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Run the model in evaluation mode; the detector's adapter adds its post-processing.

        Args:
            arrays: what to run on, as it was sent.
            emit: receives every captured tensor in execution order; None runs plainly.
            request: of the detector ``sizes``, height and width of the photograph that each image was made of, none
                for ``photograph_sizes``; and ``things``, which categories are things in panoptic maps and which stuff,
                where the model's own would be wrong.

        Returns:
            Of the detector ``pred_logits``, ``pred_boxes``, with a mask head ``pred_masks``, and what was found in
            each image: ``scores.0``, ``labels.0``, ``boxes.0``, maybe ``masks.0``, and ``ids.0`` and ``segments.0``,
            see ``parity.frameworks.panoptic``. Of another model its outputs by path.
        """


def forward_request(
    arrays: Mapping[str, Array], request: Mapping[str, Any]
) -> tuple[Sequence[Array], Sequence[Sequence[int]], dict[int, bool]]:
    """Return images, sizes and things of a request to run a detector; see ``Adapter.forward``."""
    things = {int(key): bool(thing) for key, thing in request["things"].items()}
    return Batch.of(arrays).images, request["sizes"], things


def code_of(function: Callable[..., object]) -> tuple[CodeType, str]:
    """Return a function's code object and its file, relative to the package that it belongs to."""
    function = inspect.unwrap(function)
    code: CodeType = function.__code__
    parts = Path(code.co_filename).parts
    package = function.__module__.split(".")[0]
    start = max((i for i, part in enumerate(parts) if part == package), default=len(parts) - 1)
    return code, "/".join(parts[start:])


def photograph_sizes(images: Sequence[npt.NDArray[np.float32]]) -> list[list[int]]:
    """Return sizes of photographs that are a little larger than the images, so that scaling back is tested too."""
    return [[side + side // 4 + 1 for side in image.shape[1:]] for image in images]


def flatten_results(outputs: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Name predictions and detections as ``Adapter.forward`` returns them."""
    named = {key: outputs[key] for key in ("pred_logits", "pred_boxes", "pred_masks") if key in outputs}
    for i, detection in enumerate(detections):
        named.update({f"{key}.{i}": value for key, value in detection.items()})
    return named


def gradient_name(captured: str) -> str:
    """Return the name of the gradient of what was captured as ``forward/...`` or ``input/...``."""
    return captured.replace("forward/", "gradout/", 1).replace("input/", "gradin/", 1)


def of_losses(captured: str) -> bool:
    """Whether what was captured is a prediction, or crosses a module of the criterion."""
    label = captured.removeprefix("forward/")
    return label.startswith(("(root)", CRITERION))
