"""Results of single operations in short, so that they can be found again under other names and in other layouts."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from parity.capture import ROOT
from parity.trace import Array, Entry

# Frames of these packages are not the user's code.
_OWN = ("torch", "jittor", "parity")


def in_short(array: Array) -> Array:
    """Return the number of elements, their sum, the sum of their sizes and of their squares: float64 [4].

    None of them depends on the order of the elements, so a transposed result is the same.
    """
    values = np.asarray(array, np.float64)
    return np.array([values.size, values.sum(), np.abs(values).sum(), np.square(values).sum()])


def alike(first: Array, second: Array, tolerance: float = 1e-9) -> bool:
    """Whether two results in short can be of the same numbers."""
    if first[0] != second[0]:
        return False
    scale = max(first[2], second[2])
    close = abs(first[1:3] - second[1:3]).max() <= tolerance * scale
    return bool(close and abs(first[3] - second[3]) <= tolerance * max(first[3], second[3]))


class Operations:
    """Notes operations by the module that runs them.

    Args:
        names: of modules by identity.
        emit: receives each, once ``flush`` is called.
    """

    def __init__(self, names: dict[int, str], emit: Callable[[Entry], None]) -> None:
        self._names = names
        self._emit = emit
        self._stack: list[str] = []
        self._held: list[tuple[str, str, str, Any]] = []
        self._counts: Counter[str] = Counter()
        self.depth = 0

    def enter(self, module: object) -> None:
        """Note that a module starts."""
        self._stack.append(self._names.get(id(module), self._stack[-1] if self._stack else ROOT))

    def leave(self) -> None:
        """Note that it has returned."""
        self._stack.pop()

    def note(self, kind: str, result: Any) -> None:
        """Note the result of an operation."""
        if not self._stack:
            return
        module = self._stack[-1]
        label = f"op/{module}/{kind}#{self._counts[module]}"
        self._counts[module] += 1
        self._held.append((label, module, _line(), result))

    def flush(self, values: Callable[[Any], Array]) -> None:
        """Hand on all that was noted."""
        while self._held:
            label, module, source, result = self._held.pop(0)
            self._emit(Entry(label, module, source, in_short(values(result))))


def _line() -> str:
    """Return file and line of the user's code that is running."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        parts = Path(frame.f_code.co_filename).parts
        if not any(part in _OWN for part in parts[:-1]):
            return f"{parts[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
