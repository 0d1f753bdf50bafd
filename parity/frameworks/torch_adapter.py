"""PyTorch behind the harness's protocol."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import detr_pt
from parity.capture import ROOT, Captured, Recent, Recorder
from parity.frameworks.base import POSTPROCESS, Array, EmitEntry, code_of, flatten_results
from parity.trace import Entry


class TorchTensors:
    """PyTorch's tensors, as the recorder sees them: read at once, so nothing is written to before."""

    def is_one(self, value: object) -> bool:
        """Whether a value is a tensor."""
        return isinstance(value, torch.Tensor)

    def key(self, tensor: torch.Tensor) -> tuple[int, int]:
        """Return its identity and the number of writes in place."""
        return id(tensor), tensor._version

    def hold(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor itself."""
        return tensor


class TorchAdapter:
    """Runs detr_pt; see ``parity.frameworks.base.Adapter``."""

    name = "torch"

    def environment(self) -> dict[str, str]:
        """Return versions and flags."""
        return {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "threads": str(torch.get_num_threads()),
            "mkldnn": str(torch.backends.mkldnn.is_available()),
            "cuda": str(torch.cuda.is_available()),
        }

    def build(self, args: argparse.Namespace, weights: Path, twin: bool = False) -> None:
        """Build the detector in evaluation mode and load weights into it."""
        if args.device == "cuda":
            # Jittor computes in full float32; TF32 would be another arithmetic.
            torch.backends.cudnn.allow_tf32 = False
        torch.backends.mkldnn.enabled = torch.backends.cudnn.enabled = not twin
        self.args = args
        self.model, _, self.postprocessors = detr_pt.build_model(args)
        self.model.eval()
        detr_pt.load_weights(self.model, weights)
        if twin:
            move_by_one_ulp(self.model)

    def modules(self) -> list[str]:
        """Return the names of all modules, post-processing included."""
        return [name for name, _ in self._named_modules()]

    def plant(self, mutant: str) -> None:
        """Refuse: faults are planted in the port, not in the reference."""
        raise ValueError(f"{mutant}: faults are planted in the Jittor model only")

    def forward(self, images: Sequence[npt.NDArray[np.float32]], emit: EmitEntry | None) -> dict[str, Array]:
        """Run the detector and its post-processing."""
        dtype = getattr(torch, self.args.dtype)
        tensors = [torch.from_numpy(image).to(device=self.args.device, dtype=dtype) for image in images]
        sizes = torch.tensor([image.shape[1:] for image in images], device=self.args.device)
        with torch.no_grad(), self._capture(emit):
            outputs = self.model(tensors)
            detections = self.postprocessors["bbox"](outputs, sizes)
        return {name: to_numpy(value) for name, value in flatten_results(outputs, detections).items()}

    def _named_modules(self) -> list[tuple[str, nn.Module]]:
        named = [(name or ROOT, module) for name, module in self.model.named_modules()]
        return [*named, (POSTPROCESS, self.postprocessors["bbox"])]

    @contextmanager
    def _capture(self, emit: EmitEntry | None) -> Iterator[None]:
        if emit is None:
            yield
            return
        named = self._named_modules()
        recent = Recent()

        def emit_captured(c: Captured) -> None:
            emit(Entry(c.name, c.owner, c.source, to_numpy(c.tensor), c.caller, c.inputs, recent.find(c)))

        recorder = Recorder(
            named, self.model.named_parameters(), lambda m: code_of(type(m).forward), TorchTensors(), emit_captured
        )

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            recorder.enter(module, args, kwargs)

        def leave(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
            recorder.leave(module, output)

        handles = []
        for _, module in named:
            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def move_by_one_ulp(model: nn.Module) -> None:
    """Move every weight to a neighbouring number, up or down by a seeded coin."""
    coin = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            up = torch.rand(weight.shape, generator=coin) < 0.5
            towards = torch.where(up, torch.inf, -torch.inf).to(weight)
            weight.copy_(torch.nextafter(weight, towards))


def to_numpy(tensor: torch.Tensor) -> Array:
    """Return the values, shared with the tensor where it is on the CPU."""
    array: Array = tensor.detach().cpu().numpy()
    return array
