"""Errors between arrays, computed in one pass over memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Elements of a block whose temporaries stay in a core's cache.
_BLOCK = 2**17


@dataclass(frozen=True)
class Error:
    """How far an array is from the truth.

    Attributes:
        max_abs: largest absolute difference; infinite where one side is finite and the other not, or NaN and infinities
            are not alike.
        rms: root of the mean squared difference; infinite likewise.
        scale: largest absolute value of the truth (of its finite elements).
        truth_rms: root of the mean square of the truth.
        mismatches: number of unequal elements, for integers and booleans; 0 for floats.
        size: number of elements.
    """

    max_abs: float
    rms: float
    scale: float
    truth_rms: float
    mismatches: int
    size: int

    @property
    def relative(self) -> float:
        """Largest difference as a fraction of the truth's scale; 0 if both are 0."""
        return _ratio(self.max_abs, self.scale)

    @property
    def rel_l2(self) -> float:
        """Norm of the difference as a fraction of the norm of the truth; 0 if both are 0."""
        return _ratio(self.rms, self.truth_rms)


@dataclass(frozen=True)
class Extent:
    """How large the truth is: its largest absolute value and its root mean square; None where it is not finite."""

    scale: float
    rms: float


def sum_of_squares(values: Array) -> float:
    """Return the sum of the squares of an array of float64.

    Not by ``np.dot``: NumPy's BLAS keeps a processor busy for a tenth of a second after each product, waiting for more
    of them, and that processor is a worker's.
    """
    values = values.reshape(-1)
    return float(np.einsum("i,i->", values, values))


def extent(truth: Array) -> Extent | None:
    """Return the extent of an array of floats, for several arrays that are measured against it."""
    if truth.dtype.kind != "f":
        return None
    scale = squares = 0.0
    truth = np.ascontiguousarray(truth).reshape(-1)
    for start in range(0, truth.size, _BLOCK):
        t = truth[start : start + _BLOCK].astype(np.float64, copy=False)
        squares += sum_of_squares(t)
        scale = max(scale, float(t.max()), -float(t.min()))
    return Extent(scale, math.sqrt(squares / max(1, truth.size))) if math.isfinite(squares) else None


def measure(value: Array, truth: Array, of_truth: Extent | None = None) -> Error:
    """Measure an array against the truth, of the same shape and kind.

    Differences are taken in float64, so a float32 array is judged by the values it holds.

    Args:
        value: the array to judge.
        truth: what it should be.
        of_truth: the extent of the truth, if it is known.

    Raises:
        ValueError: the shapes differ, or one is of floats and the other not.
    """
    if value.shape != truth.shape:
        raise ValueError(f"shapes differ: {list(value.shape)} and {list(truth.shape)}")
    if (value.dtype.kind == "f") != (truth.dtype.kind == "f"):
        raise ValueError(f"kinds differ: {value.dtype} and {truth.dtype}")
    value, truth = np.ascontiguousarray(value).reshape(-1), np.ascontiguousarray(truth).reshape(-1)
    if truth.dtype.kind != "f":
        mismatches = int(np.count_nonzero(value != truth))
        return Error(float(mismatches > 0), mismatches / max(1, truth.size), 1.0, 1.0, mismatches, truth.size)
    of_truth = of_truth or extent(truth)
    return _measure_floats(value, truth, of_truth) if of_truth else _measure_with_non_finite(value, truth)


def _measure_floats(value: Array, truth: Array, of_truth: Extent) -> Error:
    max_abs = squares = 0.0
    buffer = np.empty(min(_BLOCK, truth.size))
    for start in range(0, truth.size, _BLOCK):
        t = truth[start : start + _BLOCK]
        difference = np.subtract(value[start : start + _BLOCK], t, out=buffer[: t.size], dtype=np.float64)
        squares += sum_of_squares(difference)
        max_abs = max(max_abs, float(difference.max()), -float(difference.min()))
    if not math.isfinite(squares):
        return _measure_with_non_finite(value, truth)
    return Error(max_abs, math.sqrt(squares / max(1, truth.size)), of_truth.scale, of_truth.rms, 0, truth.size)


def _measure_with_non_finite(value: Array, truth: Array) -> Error:
    """Measure where not all is finite: what is not must be alike on both sides, then the rest is measured."""
    finite = np.isfinite(truth)
    alike = bool(np.array_equal(value[~finite].astype(np.float64), truth[~finite].astype(np.float64), equal_nan=True))
    if not alike or not np.isfinite(value[finite]).all():
        finite_truth = np.abs(truth[finite]).astype(np.float64)
        scale = float(finite_truth.max(initial=0.0))
        return Error(
            math.inf, math.inf, scale, math.sqrt(float(np.mean(finite_truth**2 if finite.any() else 0))), 0, truth.size
        )
    difference = value[finite].astype(np.float64) - truth[finite]
    kept = truth[finite].astype(np.float64)
    size = max(1, kept.size)
    # Scaled first, since the squares of values beyond 1e154 overflow.
    largest = float(np.abs(difference).max(initial=0.0))
    truth_largest = float(np.abs(kept).max(initial=0.0))
    rms = largest * math.sqrt(float(np.sum((difference / (largest or 1.0)) ** 2)) / size)
    truth_rms = truth_largest * math.sqrt(float(np.sum((kept / (truth_largest or 1.0)) ** 2)) / size)
    return Error(largest, rms, truth_largest, truth_rms, 0, truth.size)


def larger(first: Error, second: Error) -> Error:
    """Return the larger error in each respect; both are against one truth."""
    return replace(
        first,
        max_abs=max(first.max_abs, second.max_abs),
        rms=max(first.rms, second.rms),
        mismatches=max(first.mismatches, second.mismatches),
    )


def worst_index(value: Array, truth: Array) -> tuple[int, ...]:
    """Return where two arrays of one shape differ most; a pair of which one is NaN differs most of all."""
    if truth.dtype.kind != "f":
        flat = int(np.argmax(value != truth))
    else:
        with np.errstate(invalid="ignore"):
            difference = np.abs(value.astype(np.float64) - truth)
        difference = np.where(np.isnan(value) & np.isnan(truth) | (value == truth), 0.0, difference)
        flat = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
    return tuple(int(i) for i in np.unravel_index(flat, truth.shape))


def _ratio(error: float, scale: float) -> float:
    if error == 0:
        return 0.0
    return error / scale if scale > 0 else math.inf


def ulps_apart(value: Array, truth: Array) -> float:
    """Return the largest difference in units in the last place.

    The unit is that of the larger value, but no smaller than that of a typical value of the tensor (its root mean
    square): where two terms cancel, what is left has the rounding of the terms.

    Returns:
        Infinite where one side is not finite or the shapes or dtypes differ.
    """
    if value.shape != truth.shape or value.dtype != truth.dtype:
        return math.inf
    if truth.size == 0 or np.array_equal(value, truth):
        return 0.0
    of_truth = extent(truth)
    if of_truth is None or not np.isfinite(value).all():
        return math.inf
    size = np.maximum(np.maximum(np.abs(value), np.abs(truth)), truth.dtype.type(of_truth.rms))
    difference = np.abs(value.astype(np.float64) - truth.astype(np.float64))
    return float((difference / np.spacing(size).astype(np.float64)).max())
