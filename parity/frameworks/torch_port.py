"""A model of the user's in PyTorch, behind the harness's protocol; ``parity.frameworks.jittor_port`` mirrors it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.frameworks.base import Array, EmitEntry
from parity.frameworks.port import Names, PortAdapter, check_device, flatten
from parity.frameworks.torch_operations import noting
from parity.frameworks.torch_port_training import TorchPortTraining
from parity.frameworks.torch_settings import environment, full_precision, move_by_one_ulp
from parity.frameworks.torch_training import HOLDERS, emitting, to_numpy
from parity.frameworks.weights import read_weights, write_weights
from parity.recording.operations import Operations

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor."""
    return isinstance(value, Tensor)


class TorchPort(PortAdapter):
    """Runs a module of the user's; see ``parity.frameworks.base.Adapter``."""

    name = "torch"
    holders = HOLDERS
    base = nn.Module

    def environment(self) -> dict[str, str]:
        """Return versions and flags."""
        return environment()

    def build(self, args: Any, weights: Path | None, twin: int = 0) -> None:
        """Build the model by the user's function, in evaluation mode.

        Args:
            args: ``builder``, a function's name or a module, ``options`` of it, ``loss``, ``optimizer``, ``dtype``,
                ``device`` and ``seed``, among others (``parity.port.job.PortJob.args``).
            weights: what ``export`` wrote; None keeps those that the function gave.
            twin: see ``Adapter.build``.

        Raises:
            InputError: a function cannot be found, or is no builder of a module.
        """
        check_device(args.device, torch.cuda.is_available(), "PyTorch")
        if args.device == "cuda":
            full_precision()
        self.args = args
        self.twin = twin
        with self.arithmetic():
            torch.manual_seed(args.seed)
            self.model = self.made(nn.Module).to(args.device, getattr(torch, args.dtype))
            self.model.eval()
            self.names = Names(args, "torch", CONTAINERS)
            if weights is not None:
                self._load(weights)
            if twin:
                move_by_one_ulp(self.model, twin)
            self.training = TorchPortTraining(args, self.model, self.made_loss(), self.names)

    def release(self) -> None:
        """Do nothing: PyTorch keeps no memory of the CPU for itself."""

    def operations(self, arrays: Mapping[str, Array], emit: EmitEntry) -> None:
        """Run the model and emit the result of every operation in short."""
        args, kwargs, _ = self.feed(arrays)
        operations = Operations({id(module): name for name, module in self.training.named}, emit)
        with torch.no_grad(), noting(self.training.named, operations):
            self.model(*args, **kwargs)
        operations.flush(to_numpy)

    def export(self, path: Path) -> None:
        """Write parameters and buffers."""
        state = self.model.state_dict()
        buffers = self.names.weights(dict(self.model.named_buffers()))
        write_weights(path, {name: to_numpy(one) for name, one in self.names.weights(state).items()}, buffers)

    def forward(
        self, arrays: Mapping[str, Array], emit: EmitEntry | None, request: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Run the model."""
        args, kwargs, _ = self.feed(arrays)
        with torch.no_grad(), emitting(self.training.named, self.model, emit):
            outputs = self.model(*args, **kwargs)
        return {path: to_numpy(value) for path, value in flatten(outputs, is_tensor)}

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Compute in the dtype of the run, and as a twin without oneDNN and cuDNN."""
        default, enabled = torch.get_default_dtype(), torch.backends.mkldnn.enabled
        torch.set_default_dtype(getattr(torch, self.args.dtype))
        torch.backends.mkldnn.enabled = torch.backends.cudnn.enabled = not self.twin
        try:
            yield
        finally:
            torch.set_default_dtype(default)
            torch.backends.mkldnn.enabled = torch.backends.cudnn.enabled = enabled

    def _load(self, weights: Path) -> None:
        arrays = read_weights(weights)
        with torch.no_grad():
            for name, weight in self.names.weights(self.model.state_dict()).items():
                weight.copy_(torch.from_numpy(arrays[name]))

    def tensor(self, array: Array) -> Tensor:
        """Return a tensor of an array, of the dtype of the run."""
        dtype = getattr(torch, self.args.dtype) if array.dtype.kind == "f" else None
        # A copy, since a model may write to what it is fed.
        return torch.tensor(array, dtype=dtype, device=self.args.device)
