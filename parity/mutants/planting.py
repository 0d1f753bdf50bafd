"""The means of planting faults: replace a method of one module, or a name of a Python module until the next build."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Module = Any
Modules = dict[str, Module]
Plant = Callable[..., None]
PLANTS: dict[str, Plant] = {}

_replaced: list[tuple[Any, str, Any]] = []


def fault(name: str) -> Callable[[Plant], Plant]:
    """Register a function that plants the fault of this name in the module that is at fault.

    Where the fault has a size, the function is handed that as well.
    """

    def register(function: Plant) -> Plant:
        PLANTS[name] = function
        return function

    return register


def override(module: Module, execute: Callable[..., Any], method: str = "execute") -> None:
    """Replace a method of one module, whose original is handed to the replacement as its second argument."""
    parent = type(module)
    original = getattr(parent, method)

    def replacement(self: Module, *args: Any, **kwargs: Any) -> Any:
        return execute(self, lambda *a, **k: original(self, *a, **k), *args, **kwargs)

    module.__class__ = type(parent.__name__, (parent,), {method: replacement})


@contextmanager
def replaced(holder: Any, name: str, instead: Any) -> Iterator[None]:
    """Replace an attribute for a while."""
    original = getattr(holder, name)
    setattr(holder, name, instead)
    try:
        yield
    finally:
        setattr(holder, name, original)


def override_with(module: Module, holder: Any, name: str, instead: Callable[..., Any]) -> None:
    """Replace an attribute while one module runs; ``instead`` is handed the original before the arguments."""
    original = getattr(holder, name)

    def execute(self: Module, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with replaced(holder, name, lambda *a, **k: instead(original, *a, **k)):
            return run(*args, **kwargs)

    override(module, execute)


def substitute(holder: Any, name: str, instead: Callable[..., Any]) -> None:
    """Replace an attribute until ``restore``; ``instead`` is handed the original before the arguments."""
    original = getattr(holder, name)
    _replaced.append((holder, name, original))
    setattr(holder, name, lambda *args, **kwargs: instead(original, *args, **kwargs))


def restore() -> None:
    """Undo every ``substitute``, the last first."""
    while _replaced:
        setattr(*_replaced.pop())
