"""Jittor behind the harness's protocol."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import detr_jt  # readies Jittor, so it comes before Jittor itself

# isort: split
import jittor as jt
import numpy as np
import numpy.typing as npt
from jittor import nn

from parity.capture import ROOT, Captured, Recent, RecentArrays, Recorder, Window
from parity.frameworks.base import POSTPROCESS, Array, EmitEntry, code_of, flatten_results
from parity.mutants.layers import plant
from parity.trace import Entry

# What a pass may hold beside its own needs; where a model has more to show, it runs again for the rest.
HELD_BYTES = 3 * 2**30


class JittorTensors:
    """Jittor's Vars, as the recorder sees them: a write in place gives the Var another node of the graph."""

    def is_one(self, value: object) -> bool:
        """Whether a value is a Var."""
        return isinstance(value, jt.Var)

    def key(self, tensor: jt.Var) -> int:
        """Return the number of its node, which no other node ever has."""
        number: int = tensor.id
        return number

    def hold(self, tensor: jt.Var) -> jt.Var:
        """Return another Var of the same node."""
        # Made where gradients flow, since assigning hands on that no gradient is wanted.
        with jt.flag_scope(no_grad=0):
            return jt.empty((1,)).assign(tensor)


class JittorAdapter:
    """Runs detr_jt; see ``parity.frameworks.base.Adapter``."""

    name = "jittor"

    def environment(self) -> dict[str, str]:
        """Return versions and flags."""
        return {
            "jittor": jt.__version__,
            "numpy": np.__version__,
            "mkl": str(bool(jt.compile_extern.use_mkl)),
            "cuda": str(bool(jt.has_cuda)),
            "cache": jt.flags.cache_path,
        }

    def build(self, args: argparse.Namespace, weights: Path, twin: bool = False) -> None:
        """Build the detector in evaluation mode and load weights into it."""
        if twin:
            raise ValueError("only PyTorch has a twin, which measures its own noise")
        self.args = args
        self.model, _, self.postprocessors = detr_jt.build_model(args)
        # Not eval(), which stops every gradient for good.
        for module in self.model.modules():
            module.is_train = False
        detr_jt.load_weights(self.model, weights)

    def modules(self) -> list[str]:
        """Return the names of all modules, post-processing included."""
        return [name for name, _ in self._named_modules()]

    def plant(self, mutant: str) -> None:
        """Plant a known fault in the model."""
        plant(mutant, dict(self._named_modules()))

    def forward(self, images: Sequence[npt.NDArray[np.float32]], emit: EmitEntry | None) -> dict[str, Array]:
        """Run the detector and its post-processing; with ``emit`` as often as it takes to hold every tensor once."""
        window = Window(HELD_BYTES)
        while True:
            with jt.no_grad(), self._capture(emit, window):
                outputs = self.model([jt.array(image, dtype=self.args.dtype) for image in images])
                detections = self.postprocessors["bbox"](outputs, jt.array([image.shape[1:] for image in images]))
                results = {name: value.numpy() for name, value in flatten_results(outputs, detections).items()}
            if not window.advance():
                return results

    def _named_modules(self) -> list[tuple[str, nn.Module]]:
        named = [(name or ROOT, module) for name, module in self.model.named_modules()]
        return [*named, (POSTPROCESS, self.postprocessors["bbox"])]

    @contextmanager
    def _capture(self, emit: EmitEntry | None, window: Window) -> Iterator[None]:
        """Capture what lies in a window, by standing in for ``Module.__call__``, as Jittor has but one slot for hooks.

        Nothing is fetched before the pass is over: fetching runs the graph up to there, which would part operations
        that a plain pass runs as one kernel, and so change their rounding.
        """
        if emit is None:
            yield
            return
        named = self._named_modules()
        held: list[Captured] = []

        def hold(captured: Captured) -> None:
            if window.holds(captured.tensor.nbytes):
                held.append(captured)

        recorder = Recorder(
            named, self.model.named_parameters(), lambda m: code_of(type(m).execute), JittorTensors(), hold
        )
        plain_call = nn.Module.__call__

        def recorded_call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            recorder.enter(module, args, kwargs)
            output = plain_call(module, *args, **kwargs)
            recorder.leave(module, output)
            return output

        nn.Module.__call__ = recorded_call
        try:
            yield
        finally:
            # Also where the model raised: what came before tells where it went wrong.
            nn.Module.__call__ = plain_call
            jt.sync_all()
            recent, arrays = Recent(), RecentArrays()
            while held:
                c = held.pop(0)
                repeats = recent.find(c)
                array = arrays[repeats] if repeats else c.tensor.numpy()
                arrays.add(c.name, array)
                emit(Entry(c.name, c.owner, c.source, array, c.caller, c.inputs, repeats))
