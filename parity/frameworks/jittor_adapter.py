"""Jittor behind the harness's protocol."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import detr_jt  # readies Jittor, so it comes before Jittor itself

# isort: split
import jittor as jt
import numpy as np
import numpy.typing as npt
from jittor import nn

from detr_common.run import check_training_args
from detr_jt.__main__ import Trainer
from detr_jt.postprocess import postprocess
from parity import chance
from parity.capture import Window
from parity.frameworks.base import (
    EPOCH_STEPS,
    POSTPROCESSORS,
    Array,
    Batch,
    EmitEntry,
    NoteStep,
    flatten_results,
    forward_request,
    photograph_sizes,
)
from parity.frameworks.jittor_capture import HELD_BYTES, emitting
from parity.frameworks.jittor_operations import noting
from parity.frameworks.jittor_settings import environment, release
from parity.frameworks.jittor_training import HOLDERS, JittorTraining, drawing
from parity.frameworks.panoptic import panoptic_results
from parity.frameworks.weights import write_weights
from parity.mutants.port import plant, unplant
from parity.recording.operations import Operations


class JittorAdapter:
    """Runs detr_jt; see ``parity.frameworks.base.Adapter``."""

    name = "jittor"

    def environment(self) -> dict[str, str]:
        """Return versions and flags."""
        return environment()

    def build(self, args: argparse.Namespace, weights: Path | None, twin: int = 0) -> None:
        """Build the detector in evaluation mode and load weights into it."""
        if twin:
            raise ValueError("only PyTorch has a twin, which measures its own noise")
        unplant()
        self.args = args
        self.model, criterion, self.postprocessors = detr_jt.build_model(args)
        # Not eval(), which stops every gradient for good.
        for module in self.model.modules():
            module.is_train = False
        detr_jt.load_weights(self.model, weights)
        self.training = JittorTraining(args, self.model, criterion)

    def modules(self) -> list[str]:
        """Return the names of all modules, post-processing included."""
        return [name for name, _ in self._named_modules()]

    def unused(self) -> list[str]:
        """Return nothing: detectors have their names."""
        return []

    def in_training(self) -> dict[str, dict[str, Any]]:
        """Return nothing: only of ports it is told."""
        return {}

    def resting(self) -> list[str]:
        """Return those that only hold others; beside a mask head the detector is used in parts."""
        held = [name for name, module in self._named_modules() if type(module) in HOLDERS]
        return [*held, "detr"] if self.args.masks else held

    def plant(self, mutant: str) -> None:
        """Plant a known fault in the model."""
        plant(mutant, dict(self._named_modules()))

    def train(self, args: argparse.Namespace, twin: int, note: NoteStep) -> None:
        """Train as ``python -m detr_jt`` does."""
        if twin:
            raise ValueError("only PyTorch has a twin, which measures its own noise")
        check_training_args(args)
        trainer = Trainer(args)
        trainer.on_step = lambda values: note(trainer.epoch, trainer.means.count - 1, values)
        masks = chance.Drawing(lambda: (args.seed, trainer.epoch * EPOCH_STEPS + trainer.means.count))
        with drawing(list(trainer.model.named_modules()), masks):
            trainer.train()

    def pad(self, images: Sequence[npt.NDArray[np.float32]]) -> dict[str, Array]:
        """Make a batch of images as the detector does."""
        batch = detr_jt.nested_tensor_from_tensor_list([jt.array(image) for image in images])
        return {"images": batch.tensors.numpy(), "mask": batch.mask.numpy()}

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return nothing that holds: detectors are written for both precisions."""
        return nullcontext()

    def release(self) -> None:
        """Give back what Jittor's own allocator keeps."""
        release()

    def feed(self, arrays: Mapping[str, Array]) -> Batch:
        """Put a batch together."""
        return Batch.of(arrays)

    def operations(self, arrays: Mapping[str, Array], emit: EmitEntry) -> None:
        """Run the detector without its post-processing and emit the result of every operation in short."""
        images = Batch.of(arrays).images
        named = self.training.named
        operations = Operations({id(module): name for name, module in named}, emit)
        with jt.no_grad(), noting(named, operations):
            self.model([jt.array(image, dtype=self.args.dtype) for image in images])
        operations.flush(lambda value: np.asarray(value.numpy()))

    def export(self, path: Path) -> None:
        """Write parameters and buffers."""
        write_weights(path, {name: value.numpy() for name, value in self.model.state_dict().items()})

    def forward(
        self, arrays: Mapping[str, Array], emit: EmitEntry | None, request: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Run the detector and its post-processing; with ``emit`` as often as it takes to hold every tensor once."""
        images, sizes, things = forward_request(arrays, request)
        if things and "panoptic" in self.postprocessors:
            self.postprocessors["panoptic"].is_thing_map.update(things)
        window = Window(HELD_BYTES)
        while True:
            with jt.no_grad(), emitting(self._named_modules(), self.model, emit, window):
                outputs = self.model([jt.array(image, dtype=self.args.dtype) for image in images])
                own = jt.array([image.shape[1:] for image in images])
                there = jt.array(sizes or photograph_sizes(images))
                detections, maps = postprocess(self.postprocessors, outputs, there, own)
                results = {name: value.numpy() for name, value in flatten_results(outputs, detections).items()}
            if not window.advance():
                return {**results, **panoptic_results(maps, self._maker_of_maps(emit), emit)}

    def _maker_of_maps(self, emit: EmitEntry | None) -> Callable[..., object] | None:
        """Return what made panoptic maps that are compared: in float64 alone, since near a tie rounding moves areas."""
        maker = self.postprocessors.get("panoptic") if emit is not None and self.args.dtype == "float64" else None
        return None if maker is None else type(maker).execute

    def _named_modules(self) -> list[tuple[str, nn.Module]]:
        return [*self.training.named, *((POSTPROCESSORS[kind], module) for kind, module in self.postprocessors.items())]
