"""Captures what crosses modules in Jittor, where nothing is computed before it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import detr_jt  # noqa: F401 - readies Jittor, so it comes before Jittor itself

# isort: split
import jittor as jt
from jittor import Var, nn

from parity.capture import Captured, Recent, RecentArrays, Recorder, Window
from parity.frameworks.base import EmitEntry, code_of
from parity.trace import Entry

Named = list[tuple[str, nn.Module]]

# What a forward pass may hold beside its own needs; where a model has more to show, it runs again for the rest.
HELD_BYTES = 2**31


class JittorTensors:
    """Jittor's Vars, as the recorder sees them: a write in place gives the Var another node of the graph."""

    def is_one(self, value: object) -> bool:
        """Whether a value is a Var."""
        return isinstance(value, Var)

    def key(self, tensor: Var) -> int:
        """Return the number of its node, which no other node ever has."""
        number: int = tensor.id
        return number

    def hold(self, tensor: Var) -> Var:
        """Return another Var of the same node."""
        # Made where gradients flow, since assigning hands on that no gradient is wanted.
        with jt.flag_scope(no_grad=0):
            return jt.empty((1,)).assign(tensor)

    def alias(self, tensor: Var) -> Var:
        """Return a copy of the Var."""
        return tensor.clone() if tensor.dtype.is_float() else tensor


@contextmanager
def calling(instead: Any) -> Iterator[None]:
    """Let ``instead`` stand in for ``Module.__call__``, which it is handed first: Jittor has but one slot for hooks."""
    plain = nn.Module.__call__
    nn.Module.__call__ = lambda module, *args, **kwargs: instead(plain, module, args, kwargs)
    try:
        yield
    finally:
        nn.Module.__call__ = plain


@contextmanager
def capturing(named: Named, model: nn.Module, note: Any, split: bool = False) -> Iterator[None]:
    """Hand what crosses modules to ``note``.

    Nothing may be fetched before the pass is over: fetching runs the graph up to there, which would part operations
    that a plain pass runs as one kernel, and so change their rounding.
    """
    recorder = Recorder(
        named, model.named_parameters(), lambda m: code_of(type(m).execute), JittorTensors(), note, split
    )

    def recorded(plain: Any, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = recorder.enter(module, args, kwargs)
        output = plain(module, *args, **kwargs)
        recorder.leave(module, output)
        return output

    with calling(recorded):
        yield


@contextmanager
def emitting(named: Named, model: nn.Module, emit: EmitEntry | None, window: Window) -> Iterator[None]:
    """Emit what crosses modules and lies in a window, once the pass is over; None runs plainly."""
    if emit is None:
        yield
        return
    held: list[Captured] = []

    def note(captured: Captured) -> None:
        if window.holds(captured.tensor.nbytes):
            held.append(captured)

    try:
        with capturing(named, model, note):
            yield
    finally:
        # Also where the model raised: what came before tells where it went wrong.
        jt.sync_all()
        recent, arrays = Recent(), RecentArrays()
        while held:
            c = held.pop(0)
            repeats = recent.find(c)
            array = arrays[repeats] if repeats else c.tensor.numpy()
            arrays.add(c.name, array)
            emit(Entry(c.name, c.owner, c.source, array, c.caller, c.inputs, repeats))
