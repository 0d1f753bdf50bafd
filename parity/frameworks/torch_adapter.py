"""PyTorch behind the harness's protocol."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import detr_pt
from detr_common.run import check_training_args
from detr_pt.__main__ import Trainer
from detr_pt.postprocess import postprocess
from parity import chance
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
from parity.frameworks.panoptic import panoptic_results
from parity.frameworks.torch_operations import noting
from parity.frameworks.torch_settings import environment, full_precision, move_by_one_ulp, without_drawing
from parity.frameworks.torch_training import HOLDERS, TorchTraining, drawing, emitting, to_numpy
from parity.frameworks.weights import write_weights
from parity.recording.operations import Operations


class TorchAdapter:
    """Runs detr_pt; see ``parity.frameworks.base.Adapter``."""

    name = "torch"

    def environment(self) -> dict[str, str]:
        """Return versions and flags."""
        return environment()

    def build(self, args: argparse.Namespace, weights: Path | None, twin: int = 0) -> None:
        """Build the detector in evaluation mode and load weights into it."""
        if args.device == "cuda":
            full_precision()
        torch.backends.mkldnn.enabled = torch.backends.cudnn.enabled = not twin
        self.args = args
        with without_drawing():
            self.model, criterion, self.postprocessors = detr_pt.build_model(args)
        self.model.eval()
        detr_pt.load_weights(self.model, weights)
        if twin:
            move_by_one_ulp(self.model, twin)
        self.training = TorchTraining(args, self.model, criterion)

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
        """Refuse: faults are planted in the port, not in the reference."""
        raise ValueError(f"{mutant}: faults are planted in the Jittor model only")

    def train(self, args: argparse.Namespace, twin: int, note: NoteStep) -> None:
        """Train as ``python -m detr_pt`` does."""
        if args.device == "cuda":
            full_precision()
        check_training_args(args)
        # As in ``build``: rounding that differs in every step is what another implementation brings, one ulp at the
        # start alone is less.
        torch.backends.mkldnn.enabled = torch.backends.cudnn.enabled = not twin
        trainer = Trainer(args)
        if twin and not trainer.epoch and not trainer.means.count:
            move_by_one_ulp(trainer.model, twin)
        trainer.on_step = lambda values: note(trainer.epoch, trainer.means.count - 1, values)
        masks = chance.Drawing(lambda: (args.seed, trainer.epoch * EPOCH_STEPS + trainer.means.count))
        with drawing(list(trainer.model.named_modules()), masks):
            trainer.train()

    def pad(self, images: Sequence[npt.NDArray[np.float32]]) -> dict[str, Array]:
        """Make a batch of images as the detector does."""
        batch = detr_pt.nested_tensor_from_tensor_list([torch.from_numpy(image) for image in images])
        return {"images": batch.tensors.numpy(), "mask": batch.mask.numpy()}

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return nothing that holds: detectors are written for both precisions."""
        return nullcontext()

    def release(self) -> None:
        """Do nothing: PyTorch keeps no memory of the CPU for itself."""

    def feed(self, arrays: Mapping[str, Array]) -> Batch:
        """Put a batch together."""
        return Batch.of(arrays)

    def operations(self, arrays: Mapping[str, Array], emit: EmitEntry) -> None:
        """Run the detector without its post-processing and emit the result of every operation in short."""
        images = Batch.of(arrays).images
        dtype = getattr(torch, self.args.dtype)
        named = self.training.named
        operations = Operations({id(module): name for name, module in named}, emit)
        with torch.no_grad(), noting(named, operations):
            self.model([torch.from_numpy(image).to(device=self.args.device, dtype=dtype) for image in images])
        operations.flush(to_numpy)

    def export(self, path: Path) -> None:
        """Write parameters and buffers."""
        write_weights(path, {name: to_numpy(value) for name, value in self.model.state_dict().items()})

    def forward(
        self, arrays: Mapping[str, Array], emit: EmitEntry | None, request: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Run the detector and its post-processing."""
        images, sizes, things = forward_request(arrays, request)
        if things and "panoptic" in self.postprocessors:
            self.postprocessors["panoptic"].is_thing_map.update(things)
        dtype = getattr(torch, self.args.dtype)
        tensors = [torch.from_numpy(image).to(device=self.args.device, dtype=dtype) for image in images]
        own = torch.tensor([image.shape[1:] for image in images], device=self.args.device)
        there = torch.tensor(sizes or photograph_sizes(images), device=self.args.device)
        with torch.no_grad(), emitting(self._named_modules(), self.model, emit):
            outputs = self.model(tensors)
            detections, maps = postprocess(self.postprocessors, outputs, there, own)
        results = {name: to_numpy(value) for name, value in flatten_results(outputs, detections).items()}
        return {**results, **panoptic_results(maps, self._maker_of_maps(emit), emit)}

    def _maker_of_maps(self, emit: EmitEntry | None) -> Callable[..., object] | None:
        """Return what made panoptic maps that are compared: in float64 alone, since near a tie rounding moves areas."""
        maker = self.postprocessors.get("panoptic") if emit is not None and self.args.dtype == "float64" else None
        return None if maker is None else type(maker).forward

    def _named_modules(self) -> list[tuple[str, nn.Module]]:
        return [*self.training.named, *((POSTPROCESSORS[kind], module) for kind, module in self.postprocessors.items())]
