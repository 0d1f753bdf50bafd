"""Notes the operations of a model in Jittor; ``parity.frameworks.torch_operations`` is the mirror image."""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import detr_jt  # noqa: F401 - readies Jittor, so it comes before Jittor itself

# isort: split
import jittor as jt
from jittor import Var, nn

from parity.frameworks.jittor_capture import calling
from parity.recording.operations import Operations

_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "pow", "matmul")
_SPECIAL = [f"__{kind}{name}__" for name in _OPERATORS for kind in ("", "r", "i")] + ["__neg__", "__getitem__"]
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType)
# They run what is not an operation.
_LEFT_OUT = ("flag_scope", "no_grad", "enable_grad", "grad", "sync", "sync_all", "array", "empty", "save", "load")


@contextmanager
def noting(named: list[tuple[str, nn.Module]], operations: Operations) -> Iterator[None]:
    """Note every operation on Vars of floats while the block runs; of nested ones the outermost."""
    places = [(Var, name) for name in (*_SPECIAL, *_public(Var))]
    places += [(place, name) for place in (jt, nn) for name in _public(place)]
    plain = {(place, name): getattr(place, name) for place, name in places if hasattr(place, name)}

    def run(called: Any, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        depth, operations.depth = operations.depth, 0
        operations.enter(module)
        try:
            return called(module, *args, **kwargs)
        finally:
            operations.leave()
            operations.depth = depth

    try:
        for (place, name), function in plain.items():
            setattr(place, name, _noted(name.strip("_"), function, operations))
        with calling(run):
            yield
    finally:
        for (place, name), function in plain.items():
            setattr(place, name, function)


def _public(place: Any) -> list[str]:
    found = vars(place).items()
    return [n for n, f in found if isinstance(f, _FUNCTIONS) and not n.startswith("_") and n not in _LEFT_OUT]


def _noted(name: str, function: Any, operations: Operations) -> Any:
    @wraps(function)
    def noted(*args: Any, **kwargs: Any) -> Any:
        operations.depth += 1
        try:
            result = function(*args, **kwargs)
        finally:
            operations.depth -= 1
        if operations.depth == 0:
            for one in result if isinstance(result, (list, tuple)) else [result]:
                if isinstance(one, Var) and one.dtype.is_float():
                    operations.note(name, one)
        return result

    return noted
