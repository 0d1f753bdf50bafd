"""How far the float32 runs of the steps rung are from PyTorch's, and its twins from it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from parity.metrics import sum_of_squares
from parity.rungs import PORT, REFERENCE, TRUTH, TWINS, Run
from parity.trace import Array


class Tally:
    """Sums up one step: how far the float32 runs are from PyTorch's.

    Attributes:
        worst64: largest error of the port's float64 run, as a fraction of the scale; None where there is none.
        loss: total loss of PyTorch's float64 run.
    """

    def __init__(self) -> None:
        self.worst64: float | None = None
        self.loss = math.nan
        self._squares: dict[Run, float] = {}
        self._by_name: dict[tuple[Run, str], float] = {}
        self._norm = 0.0
        self._losses: dict[Run, float] = {}

    def add(self, name: str, arrays: Mapping[Run, Array]) -> None:
        """Take in one tensor."""
        kind = name.split("/", 1)[1]
        base = arrays[REFERENCE, "float32"].astype(np.float64)
        if kind == "loss/total":
            self._losses = {run: float(array.reshape(-1)[0]) for run, array in arrays.items()}
            self.loss = self._losses[TRUTH]
        if not kind.startswith("param/"):
            return
        self._norm += sum_of_squares(base)
        for run in ((PORT, "float32"), *TWINS):
            difference = arrays[run] - base
            square = sum_of_squares(difference)
            self._squares[run] = self._squares.get(run, 0.0) + square
            self._by_name[run, kind.removeprefix("param/")] = square

    def distance(self, run: Run) -> float:
        """Return the norm of the difference of all parameters, as a fraction of their norm."""
        return math.sqrt(self._squares.get(run, math.inf) / (self._norm or 1.0))

    def shares(self, run: Run, shown: int = 3) -> str:
        """Say which parameters have the largest shares in the square of a distance."""
        squares = {name: square for (one, name), square in self._by_name.items() if one == run}
        largest = sorted(squares, key=squares.__getitem__, reverse=True)[:shown]
        whole = self._squares[run] or 1.0
        return ", ".join(f"{squares[name] / whole:.0%} are in {name}" for name in largest)

    def told(self, run: Run, times: float) -> str:
        """Say how many times as far as the twins a run is, and where."""
        return (
            f"float32 parameters are {times:.3g} times as far from PyTorch's as the twins; of the square of that "
            f"distance, {self.shares(run)}"
        )

    def loss_distance(self, run: Run) -> float:
        """Return the difference of the total loss as a fraction of it."""
        base = self._losses[REFERENCE, "float32"]
        return abs(self._losses[run] - base) / abs(base)
