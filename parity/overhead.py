"""What capturing and comparing costs beside the forward passes themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import numpy as np

from parity.layers import LayersJob, LayersSession


@dataclass(frozen=True)
class Overhead:
    """Medians over some rounds, in seconds.

    Attributes:
        captured: one comparison, from the first image sent to the verdict.
        plain: the sum of the forward passes that it contains, run one after another without capturing.
        unchanged: whether predictions and detections were bitwise equal with and without capturing.
    """

    captured: float
    plain: float
    unchanged: bool

    @property
    def ratio(self) -> float:
        """How many times the plain passes a comparison takes."""
        return self.captured / self.plain

    def __str__(self) -> str:
        same = "bitwise equal" if self.unchanged else "NOT EQUAL"
        return (
            f"capture and comparison {self.captured:.2f} s, plain forward passes {self.plain:.2f} s: ratio "
            f"{self.ratio:.2f}; results with and without capture {same}"
        )


def measure_overhead(job: LayersJob, rounds: int = 3) -> Overhead:
    """Measure in turns, on models that are built and warm.

    Args:
        job: what to compare.
        rounds: how often.
    """
    captured, plain, unchanged = [], [], True
    with LayersSession() as session:
        session.compare(job)
        session.plain(job.images)
        for _ in range(rounds):
            start = time.perf_counter()
            session.compare(job)
            captured.append(time.perf_counter() - start)
            results = session.captured_results()
            runs = session.plain(job.images)
            plain.append(sum(seconds for _, seconds in runs.values()))
            unchanged &= all(
                np.array_equal(array, results[run][name], equal_nan=array.dtype.kind == "f")
                for run, (arrays, _) in runs.items()
                for name, array in arrays.items()
            )
    return Overhead(median(captured), median(plain), unchanged)
