"""What a property of an operation is, and when both frameworks have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis.strategies import SearchStrategy

from parity.metrics import Error, measure
from parity.policy import Calibrated32, Exact64

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
Function = Callable[..., Any]

# Small tensors are judged by their worst element alone; a few ulp are no error.
CALIBRATED = Calibrated32(factor=2.0, factor_max=2.0)
EXACT = Exact64()
# Scale below which Jittor loses float32 digits, as its kernels take subnormal numbers, below 2^-126, for 0.
SMALLEST = 2.0**-96


class Mismatch(AssertionError):
    """The frameworks do not agree on a case."""


@dataclass(frozen=True)
class Case:
    """Inputs of an operation.

    Attributes:
        arrays: tensors by name, in the order of the arguments; floats as float32, which both precisions hold exactly.
        options: further arguments.
    """

    arrays: Arrays
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        arrays = (f"{k} = {v.dtype}{list(v.shape)} {_flat(v)}" for k, v in self.arrays.items())
        return "; ".join([*arrays, *(f"{k} = {v!r}" for k, v in self.options.items())])


def _flat(array: Array) -> str:
    values = ", ".join(f"{v:.9g}" if array.dtype.kind == "f" else str(v) for v in array.reshape(-1)[:48].tolist())
    return f"[{values}{', ...' if array.size > 48 else ''}]"


@dataclass(frozen=True)
class Operation:
    """An operation in both frameworks.

    Both functions take tensors in order and options by name, and return a tensor or several.

    Attributes:
        name: of the operation.
        cases: generates inputs.
        torch: what is right.
        jittor: the same in Jittor, in the form that detr_jt uses.
        naive: the Jittor form that one would write first, where it is wrong.
        gotcha: the entry of ``parity.gotchas`` that explains ``naive``.
        magnitude: the size of the numbers that are added up, where the result may be smaller than these; rounding is
            measured against it. Takes the arrays, in float64, by name.
    """

    name: str
    cases: SearchStrategy[Case]
    torch: Function
    jittor: Function
    naive: Function | None = None
    gotcha: str = ""
    magnitude: Callable[..., float] | None = None

    def __post_init__(self) -> None:
        if (self.naive is None) != (not self.gotcha):
            raise ValueError(f"{self.name}: a naive form has an entry of the catalogue, and only such a form")


@dataclass
class Tally:
    """What was compared.

    Attributes:
        cases: number of cases on which both agreed or not.
        worst64: largest float64 error, of the scale.
        worst32: largest ratio of Jittor's float32 error to what is allowed for factor 1.
    """

    cases: int = 0
    worst64: float = 0.0
    worst32: float = 0.0


def compare(results: dict[tuple[str, str], list[Array]], magnitude: float, tally: Tally) -> None:
    """Judge one case.

    Args:
        results: tensors of each framework and float type: ``("torch", "float64")`` and so on; without float32 where
            nothing is a float.
        magnitude: see ``Operation``.
        tally: worst errors, updated by cases that agree.

    Raises:
        Mismatch: they do not agree.
    """
    truth, port = results["torch", "float64"], results["jittor", "float64"]
    if len(truth) != len(port):
        raise Mismatch(f"PyTorch returns {len(truth)} tensors, Jittor {len(port)}")
    worst64 = worst32 = 0.0
    for k, (t, p) in enumerate(zip(truth, port, strict=True)):
        error = _measure(p, t, magnitude, "float64")
        if not EXACT.accepts(error):
            raise Mismatch(f"{EXACT.complaint(error)}; {_differing(p, t)}")
        worst64 = max(worst64, error.relative)
        if ("torch", "float32") in results:
            ratio = _ratio(results["jittor", "float32"][k], results["torch", "float32"][k], t, magnitude)
            worst32 = max(worst32, ratio)
    tally.worst64, tally.worst32 = max(tally.worst64, worst64), max(tally.worst32, worst32)


def _ratio(port: Array, reference: Array, truth: Array, magnitude: float) -> float:
    _same_kind(port, reference, "float32")
    if truth.dtype.kind == "f":
        # What float32 cannot hold, though float64 can, must at least be lost in the same way.
        lost = ~np.isfinite(reference) & np.isfinite(truth)
        if not np.array_equal(port[lost], reference[lost], equal_nan=True):
            raise Mismatch(f"float32 overflows otherwise; {_differing(port, reference)}")
        truth, port, reference = truth[~lost], port[~lost], reference[~lost]
    errors = [_measure(a, truth, magnitude, "float32") for a in (port, reference)]
    ratio = CALIBRATED.ratios(*errors)[1]
    if not CALIBRATED.accepts(*errors):
        raise Mismatch(f"float32 error is {ratio:.3g} times PyTorch's own; {_differing(port, truth)}")
    return ratio


def _measure(value: Array, truth: Array, magnitude: float, dtype: str) -> Error:
    if dtype == "float64":
        _same_kind(value, truth, dtype)
    if truth.dtype.kind != "f":
        return measure(value, truth)
    error = measure(value, truth)
    scale = max(magnitude, SMALLEST if dtype == "float32" else 0.0)
    return replace(error, scale=max(error.scale, scale), truth_rms=max(error.truth_rms, scale))


def _same_kind(value: Array, truth: Array, dtype: str) -> None:
    if value.shape != truth.shape:
        raise Mismatch(f"{dtype}: shape {list(value.shape)} instead of {list(truth.shape)}")
    kinds = ["integer" if a.dtype.kind in "iu" else str(a.dtype) for a in (value, truth)]
    if kinds[0] != kinds[1]:
        raise Mismatch(f"{dtype}: the result is {kinds[0]} instead of {kinds[1]}")


def _differing(value: Array, truth: Array) -> str:
    """Name the element that differs most."""
    if truth.size == 0:
        return "both are empty"
    with np.errstate(invalid="ignore"):
        apart = np.abs(value.astype(np.float64) - truth.astype(np.float64)).reshape(-1)
    unlike = np.isnan(apart) & (np.isnan(value) != np.isnan(truth)).reshape(-1)
    at = int(np.argmax(np.where(unlike, np.inf, np.nan_to_num(apart, nan=0.0))))
    index = [int(i) for i in np.unravel_index(at, truth.shape)]
    return f"at {index} {value.reshape(-1)[at]!s} instead of {truth.reshape(-1)[at]!s}"
