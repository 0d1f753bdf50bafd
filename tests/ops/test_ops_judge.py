"""What the ops rung accepts, without a framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parity.ops.operation import Case, Mismatch, Operation, Tally, compare

X = np.array([1.0, 2.0, -4.0])


def judge(port64: Any, port32: Any = None, reference32: Any = None, truth: Any = X, magnitude: float = 0.0) -> Tally:
    results = {("torch", "float64"): [truth], ("jittor", "float64"): [port64]}
    if port32 is not None:
        results["jittor", "float32"] = [np.asarray(port32, np.float32)]
        results["torch", "float32"] = [np.asarray(truth if reference32 is None else reference32, np.float32)]
    tally = Tally()
    compare(results, magnitude, tally)
    return tally


def test_equal_results_agree() -> None:
    assert judge(X, X) == Tally(0, 0.0, 0.0)


def test_float64_may_differ_by_rounding_only() -> None:
    assert judge(X + 3e-12).worst64 == pytest.approx(7.5e-13, rel=1e-3)
    with pytest.raises(Mismatch, match=r"float64 error is 2\.5e-12 of the scale.*at \[0\]"):
        judge(X + np.array([1e-11, 0, 0]))
    judge(X + 1e-11, magnitude=100.0)


def test_float32_may_be_twice_as_wrong_as_the_reference() -> None:
    wrong = X + 1e-3
    assert judge(X, X + 1.9e-3, wrong).worst32 == pytest.approx(1.9, rel=1e-3)
    with pytest.raises(Mismatch, match=r"float32 error is 2\.1 times"):
        judge(X, X + 2.1e-3, wrong)


def test_float32_may_be_a_few_ulp_wrong_where_the_reference_is_right() -> None:
    judge(X, X + 4 * 2.0**-22)
    with pytest.raises(Mismatch, match="float32"):
        judge(X, X + 16 * 2.0**-22)


def test_subnormal_numbers_count_as_zero() -> None:
    judge(X, [1, 2, -4], truth=X)
    assert judge(np.array([1e-40]), [0.0], [1e-40], truth=np.array([1e-40])).worst32 < 1e-3
    with pytest.raises(Mismatch):
        judge(np.array([1e-30]), [0.0], [1e-30], truth=np.array([1e-30]))


@pytest.mark.parametrize(
    "port",
    [X[:2], X[None], X.astype(np.float32), X.astype(np.int64), X > 0, np.array([1.0, 2.0, np.nan])],
    ids=["shorter", "axis", "float32", "integer", "bool", "nan"],
)
def test_another_shape_type_or_value_is_told(port: Any) -> None:
    with pytest.raises(Mismatch):
        judge(port)


def test_integers_of_any_width_are_alike_and_booleans_are_none() -> None:
    integers = np.array([1, 0, 2])
    judge(integers.astype(np.int32), truth=integers)
    with pytest.raises(Mismatch, match="bool instead of integer"):
        judge(np.array([True, False, True]), truth=integers)
    with pytest.raises(Mismatch, match="integer instead of bool"):
        judge(integers, truth=np.array([True, False, True]))


def test_overflow_of_float32_must_be_alike() -> None:
    truth = np.array([1e300, 1.0])
    judge(truth, [np.inf, 1], [np.inf, 1], truth=truth)
    with pytest.raises(Mismatch, match="overflows otherwise"):
        judge(truth, [3e38, 1], [np.inf, 1], truth=truth)


def test_one_result_of_two_is_told() -> None:
    with pytest.raises(Mismatch, match="PyTorch returns 2 tensors, Jittor 1"):
        compare({("torch", "float64"): [X, X], ("jittor", "float64"): [X]}, 0.0, Tally())


def test_a_naive_form_needs_its_entry() -> None:
    with pytest.raises(ValueError, match="entry of the catalogue"):
        Operation("name", None, len, len, naive=len)  # type: ignore[arg-type]


def test_a_case_can_be_read() -> None:
    case = Case({"x": np.array([[0.5, -0.0]], np.float32), "m": np.array([True])}, {"size": (2, 3)})
    assert str(case) == "x = float32[1, 2] [0.5, -0]; m = bool[1] [True]; size = (2, 3)"
