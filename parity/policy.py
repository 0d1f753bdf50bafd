"""What counts as agreement."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parity.metrics import Error

# Unit roundoff of float32: half the distance from 1 to the next number.
ULP32 = 2.0**-24


@dataclass(frozen=True)
class Exact64:
    """Float64 against float64: the port must agree to the last digits.

    Attributes:
        bound: largest error that passes.
        by_norm: take the norm of the difference as a fraction of the tensor's norm; else the largest difference as a
            fraction of the tensor's scale, its largest absolute value.
    """

    bound: float = 1e-12
    by_norm: bool = False

    @property
    def of(self) -> str:
        """What an error is a fraction of."""
        return "norm" if self.by_norm else "scale"

    def size(self, error: Error) -> float:
        """Return the error as this policy takes it."""
        return error.rel_l2 if self.by_norm else error.relative

    def accepts(self, error: Error) -> bool:
        """Whether the error is within the bound; integers and booleans must be equal."""
        return error.mismatches == 0 and self.size(error) <= self.bound

    def complaint(self, error: Error) -> str:
        """Say what is wrong with an error that is not accepted."""
        return f"float64 error is {self.size(error):.3g} of the {self.of}, above {self.bound:g}"


@dataclass(frozen=True)
class Calibrated32:
    """Float32 against the float64 truth: the port may be little less accurate than the reference itself.

    The reference's own error is the larger one of PyTorch and its twin (``parity.judge``).

    The norm of the error over the tensor may be ``factor`` times the reference's own. Its largest single element, which
    is a noisier figure, may be ``factor_max`` times; so may the norm of a tensor of few elements, which is as noisy.
    Errors of the reference count as no smaller than a floor, below which a ratio says nothing.

    Attributes:
        factor: bound of the ratio of norms.
        factor_max: bound of the ratio of the largest elements.
        few: number of elements below which the norm is judged by ``factor_max``.
        few_max: bound of the ratio of the largest elements of such a tensor; 0 for ``factor_max``. One of few elements
            may be far off in one correct run and nearly exact in two others.
        most: bound of the ratio of norms that 95 of 100 tensors must keep; it is below ``factor`` where single tensors
            may be further off than the whole.
        floor_ulps: floor, in units of float32 rounding of the tensor's scale.
        floor_flips: floor for integers: the fraction of elements that a near tie may flip.
    """

    factor: float = 2.0
    factor_max: float = 4.0
    few: int = 1000
    few_max: float = 0.0
    most: float = math.inf
    floor_ulps: float = 4.0
    floor_flips: float = 0.01

    def ratios(self, port: Error, reference: Error) -> tuple[float, float]:
        """Return the ratios of norms and of largest elements; both errors are against the truth."""
        if port.mismatches or reference.mismatches:
            floor = max(reference.mismatches, int(self.floor_flips * reference.size))
            ratio = port.mismatches / floor if floor else float("inf") if port.mismatches else 0.0
            return ratio, ratio
        rounding = self.floor_ulps * ULP32
        by_norm = _over(port.rms, max(reference.rms, rounding * reference.truth_rms))
        by_element = _over(port.max_abs, max(reference.max_abs, rounding * reference.scale))
        return by_norm, by_element

    def below_floor(self, error: Error) -> bool:
        """Whether an error is so small that a ratio to another says nothing; of integers, that all are equal."""
        rounding = self.floor_ulps * ULP32
        small = error.rms <= rounding * error.truth_rms and error.max_abs <= rounding * error.scale
        return error.mismatches == 0 and small

    def accepts(self, port: Error, reference: Error) -> bool:
        """Whether both ratios are within their bounds."""
        by_norm, by_element = self.ratios(port, reference)
        return by_norm <= self.bound(port.size) and by_element <= self.bound_max(port.size)

    def bound(self, size: int) -> float:
        """Return the bound of the ratio of norms for a tensor of ``size`` elements."""
        return self.factor if size >= self.few else self.factor_max

    def bound_max(self, size: int) -> float:
        """Return the bound of the ratio of the largest elements of a tensor of ``size`` elements."""
        return self.factor_max if size >= self.few else max(self.factor_max, self.few_max)


def _over(error: float, allowed: float) -> float:
    if error == 0:
        return 0.0
    return error / allowed if allowed > 0 else float("inf")


@dataclass(frozen=True)
class Steps:
    """Training side by side.

    Attributes:
        ulps: by dtype, how many units in the last place a step may add where both take the same gradients.
        norm: largest float64 error of a clip norm as a fraction of it.
        bound: largest float64 error of a tensor as a fraction of its scale, where each takes its own gradients.
        factor: how many times as far as PyTorch's twins the port's float32 parameters may be from PyTorch's. The loss,
            one number that may be right by luck, is shown and not judged.
        floor_ulps: distances count as no smaller than this, in units of float32 rounding.
    """

    ulps: tuple[tuple[str, float], ...] = (("float64", 2.0), ("float32", 4.0))
    norm: float = 1e-12
    bound: float = 1e-9
    factor: float = 2.0
    floor_ulps: float = 4.0

    def allowed_ulps(self, dtype: str, steps: int) -> float:
        """Return how many units in the last place values may differ after some steps."""
        return dict(self.ulps)[dtype] * steps
