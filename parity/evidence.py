"""What a failed tensor looks like: how its errors are spread, where they are, and the values around the worst one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.metrics import worst_index
from parity.rungs import PORT, REFERENCE, TRUTH, Run
from parity.trace import Array, Entry
from parity.verdict import Judgement

# Failures that keep their evidence. More are looked at, since some of them are absolved when all tensors are in.
KEPT = 3
LOOKED_AT = 64

# Cells of a heat map in each direction, and values shown on each side of the worst one.
CELLS = 48
AROUND = 3

# Bins of the histogram: half decades of the error as a fraction of the tensor's scale.
LOWEST, HIGHEST, BINS = -18, 4, 44

_Floats = npt.NDArray[np.float64]


class Witness:
    """Takes evidence of tensors that failed, until it has looked at ``LOOKED_AT`` of them."""

    def __init__(self) -> None:
        self._looked_at = 0

    def evidence(self, versions: Mapping[Run, Entry], dtype: str) -> dict[str, Any] | None:
        """Return the evidence on one tensor; None where there is nothing to see or enough has been seen.

        Args:
            versions: the tensor in all runs, of one shape.
            dtype: the precision that failed.
        """
        if self._looked_at == LOOKED_AT:
            return None
        self._looked_at += 1
        reference = versions.get((REFERENCE, dtype)) if dtype == "float32" else None
        truth = versions[TRUTH].array
        return look(versions[PORT, dtype].array, truth, dtype, reference.array if reference else None)


def first_only(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Return judgements in their order, of which only the first failures keep their evidence."""
    kept, found = 0, []
    for judgement in judgements:
        if judgement.evidence is not None:
            if judgement.problems and kept < KEPT:
                kept += 1
            else:
                judgement = replace(judgement, evidence=None)
        found.append(judgement)
    return found


def look(value: Array, truth: Array, dtype: str, reference: Array | None = None) -> dict[str, Any] | None:
    """Return histogram, heat map and worst element of an array's errors, as plain data; None for an empty array.

    The arrays are gone through in slices, so that memory does not grow with them.

    Args:
        value: the array that failed.
        truth: what it should be, of the same shape.
        dtype: the precision in which it failed, to be told.
        reference: PyTorch's array in the same precision, whose errors are counted beside.
    """
    if truth.size == 0:
        return None
    scale = _scale(truth)
    axes = _split(truth.shape)
    rows, columns = math.prod(truth.shape[:axes]), math.prod(truth.shape[axes:])
    across = _edges(columns)
    counted = {"port": np.zeros(BINS, np.int64), "reference": np.zeros(BINS, np.int64)}
    exact = not_finite = 0
    cells = []
    down = _edges(rows)
    for start, end in itertools.pairwise(down):
        errors = _errors(value, truth, rows, start, end, scale)
        exact += int(np.count_nonzero(errors == 0))
        not_finite += int(np.count_nonzero(np.isinf(errors)))
        counted["port"] += _counts(errors)
        if reference is not None:
            counted["reference"] += _counts(_errors(reference, truth, rows, start, end, scale))
        cells.append([float(f"{cell:.3g}") for cell in np.maximum.reduceat(errors, across[:-1], axis=1).max(axis=0)])
    return {
        "dtype": dtype,
        "shape": list(truth.shape),
        "scale": scale,
        "histogram": {
            "edges": [LOWEST + (HIGHEST - LOWEST) * i / BINS for i in range(BINS + 1)],
            "counts": counted["port"].tolist(),
            "reference": counted["reference"].tolist() if reference is not None else None,
            "exact": exact,
            "not_finite": not_finite,
        },
        "heat": {"cells": cells, "rows": list(range(axes)), "columns": list(range(axes, truth.ndim))},
        "worst": _around(value, truth),
    }


def _scale(truth: Array) -> float:
    if truth.dtype.kind != "f":
        return 1.0
    return max((abs(float(extreme)) for extreme in _extremes(truth)), default=0.0)


def _extremes(truth: Array) -> tuple[float, ...]:
    finite = np.isfinite(truth)
    if not finite.any():
        return ()
    return float(np.max(truth, where=finite, initial=-np.inf)), float(np.min(truth, where=finite, initial=np.inf))


def _split(shape: tuple[int, ...]) -> int:
    """Return how many axes go down in a picture of an array; the others go across, and both are about as long."""

    def unlike(axes: int) -> float:
        return abs(math.log(math.prod(shape[:axes])) - math.log(math.prod(shape[axes:])))

    return min(range(len(shape) + 1), key=unlike)


def _edges(length: int) -> list[int]:
    count = min(length, CELLS)
    return [length * i // count for i in range(count + 1)]


def _errors(value: Array, truth: Array, rows: int, start: int, end: int, scale: float) -> _Floats:
    """Return errors of some rows over the scale; infinite where one side is not finite and the other is unlike it."""
    v, t = (array.reshape(rows, -1)[start:end].astype(np.float64) for array in (value, truth))
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(v - t)
    errors[(v == t) | (np.isnan(v) & np.isnan(t))] = 0
    errors[np.isnan(errors)] = np.inf
    with np.errstate(over="ignore"):
        found: _Floats = errors / (scale or 1.0)
    return found


def _counts(errors: _Floats) -> npt.NDArray[np.int64]:
    seen = errors[(errors > 0) & np.isfinite(errors)]
    places = np.floor((np.log10(seen) - LOWEST) * BINS / (HIGHEST - LOWEST))
    return np.bincount(np.clip(places, 0, BINS - 1).astype(np.int64), minlength=BINS)


def _around(value: Array, truth: Array) -> dict[str, Any]:
    index = worst_index(value, truth)
    last = index[-1] if index else 0
    length = truth.shape[-1] if truth.shape else 1
    places = [(*index[:-1], i) for i in range(max(0, last - AROUND), min(length, last + AROUND + 1))] if index else [()]
    return {
        "index": list(index),
        "around": [
            {"index": list(place), "port": float(value[place]), "reference": float(truth[place])} for place in places
        ],
    }
