"""A model of the user's in Jittor, behind the harness's protocol; ``parity.frameworks.torch_port`` mirrors it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import detr_jt  # noqa: F401 - readies Jittor, so it comes before Jittor itself

# isort: split
import jittor as jt
import numpy as np
from jittor import Var, nn

from parity.capture import Window
from parity.frameworks.base import Array, EmitEntry
from parity.frameworks.jittor_capture import HELD_BYTES, emitting
from parity.frameworks.jittor_float64 import float64_numbers
from parity.frameworks.jittor_operations import noting
from parity.frameworks.jittor_port_training import JittorPortTraining
from parity.frameworks.jittor_settings import environment, release
from parity.frameworks.jittor_training import HOLDERS
from parity.frameworks.port import Names, PortAdapter, check_device, flatten
from parity.frameworks.weights import read_weights, write_weights
from parity.recording.operations import Operations

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ParameterList)


def is_tensor(value: Any) -> bool:
    """Whether a value is a Var."""
    return isinstance(value, Var)


class JittorPort(PortAdapter):
    """Runs a module of the user's; see ``parity.frameworks.base.Adapter``."""

    name = "jittor"
    holders = HOLDERS
    base = nn.Module

    def environment(self) -> dict[str, str]:
        """Return versions and flags."""
        return environment()

    def build(self, args: Any, weights: Path | None, twin: int = 0) -> None:
        """Build the model by the user's function, in evaluation mode; see ``TorchPort.build``.

        Raises:
            InputError: a function cannot be found, or is no builder of a module.
        """
        if twin:
            raise ValueError("only PyTorch has a twin, which measures its own noise")
        check_device(args.device, bool(jt.has_cuda), "Jittor")
        jt.flags.use_cuda = int(args.device == "cuda")
        self.args = args
        with self.arithmetic():
            self.model = self.made(nn.Module)
            if args.dtype == "float64":
                self.model.float64()
            # Not eval(), which stops every gradient for good.
            for module in self.model.modules():
                module.is_train = False
            self.names = Names(args, "jittor", CONTAINERS)
            if weights is not None:
                self._load(weights)
            self.training = JittorPortTraining(args, self.model, self.made_loss(), self.names)

    def release(self) -> None:
        """Give back what Jittor's own allocator keeps."""
        release()

    def operations(self, arrays: Mapping[str, Array], emit: EmitEntry) -> None:
        """Run the model and emit the result of every operation in short."""
        args, kwargs, _ = self.feed(arrays)
        operations = Operations({id(module): name for name, module in self.training.named}, emit)
        with jt.no_grad(), noting(self.training.named, operations):
            self.model(*args, **kwargs)
        operations.flush(lambda value: np.asarray(value.numpy()))

    def export(self, path: Path) -> None:
        """Write parameters and buffers."""
        state = self.names.weights(self.model.state_dict())
        write_weights(path, {name: value.numpy() for name, value in state.items()})

    def forward(
        self, arrays: Mapping[str, Array], emit: EmitEntry | None, request: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Run the model; with ``emit`` as often as it takes to hold every tensor once."""
        window = Window(HELD_BYTES)
        while True:
            args, kwargs, _ = self.feed(arrays)
            with jt.no_grad(), emitting(self.training.named, self.model, emit, window):
                outputs = self.model(*args, **kwargs)
                results = {path: value.numpy() for path, value in flatten(outputs, is_tensor)}
            if not window.advance():
                return results

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Compute in the dtype and on the device of the run: live modules of several runs share a process."""
        on_gpu = int(self.args.device == "cuda")
        with (
            jt.flag_scope(auto_convert_64_to_32=0, use_cuda=on_gpu),
            float64_numbers(self.args.dtype == "float64"),
        ):
            yield

    def _load(self, weights: Path) -> None:
        arrays = read_weights(weights)
        for name, weight in self.names.weights(self.model.state_dict()).items():
            # At once: an array of one number would become a part of the next kernel, which may then not compile.
            weight.update(jt.array(arrays[name], dtype=str(weight.dtype)).sync())

    def tensor(self, array: Array) -> Var:
        """Return a Var of an array, of the dtype of the run."""
        return jt.array(array, dtype=self.args.dtype if array.dtype.kind == "f" else str(array.dtype)).sync()
