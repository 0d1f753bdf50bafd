from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity import metrics
from parity.metrics import measure, worst_index

FINITE = st.floats(-1e100, 1e100, allow_nan=False)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7)


@given(st.data(), SHAPES, st.sampled_from([1, 3, 2**13]))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_blocks_give_what_whole_arrays_give(data: st.DataObject, shape: tuple[int, ...], block: int) -> None:
    truth = data.draw(hnp.arrays(np.float64, shape, elements=FINITE))
    value = data.draw(hnp.arrays(np.float64, shape, elements=FINITE))
    whole, metrics._BLOCK = metrics._BLOCK, block
    try:
        error = measure(value, truth)
    finally:
        metrics._BLOCK = whole
    difference = np.abs(value - truth)
    assert error.max_abs == difference.max(initial=0.0)
    assert error.scale == np.abs(truth).max(initial=0.0)
    assert error.rms == pytest.approx(math.sqrt(float(np.mean(difference**2))) if truth.size else 0.0, rel=1e-9)


def test_a_single_wrong_element_is_seen_wherever_it_is() -> None:
    truth = np.ones(3 * metrics._BLOCK + 5)
    for index in (0, metrics._BLOCK - 1, metrics._BLOCK, truth.size - 1):
        value = truth.copy()
        value[index] += 1e-12
        assert measure(value, truth).max_abs == pytest.approx(1e-12, rel=1e-3)
        assert worst_index(value, truth) == (index,)


@pytest.mark.parametrize(
    ("value", "truth"),
    [([1.0, np.nan], [1.0, 2.0]), ([1.0, 2.0], [1.0, np.nan]), ([np.inf, 0.0], [-np.inf, 0.0]), ([np.inf], [1.0])],
)
def test_values_that_are_not_finite_alike_are_infinitely_wrong(value: list[float], truth: list[float]) -> None:
    error = measure(np.array(value), np.array(truth))
    assert error.max_abs == math.inf and error.relative == math.inf and error.rel_l2 == math.inf


def test_values_that_are_alike_where_not_finite_are_measured_on_the_rest() -> None:
    truth = np.array([np.nan, np.inf, -np.inf, 1.0, 2.0])
    assert measure(truth.copy(), truth).max_abs == 0
    value = truth.copy()
    value[4] = 2.5
    assert measure(value, truth).relative == 0.25


def test_finite_values_whose_squares_overflow_are_measured() -> None:
    truth = np.array([1e200, -1e200])
    error = measure(truth * (1 + 1e-10), truth)
    assert error.relative == pytest.approx(1e-10, rel=1e-3) and error.rel_l2 == pytest.approx(1e-10, rel=1e-3)


def test_permuted_values_with_the_same_mean_are_not_equal() -> None:
    truth = np.arange(12.0).reshape(3, 4)
    assert measure(truth[::-1], truth).max_abs == 8


def test_float32_is_judged_by_the_values_it_holds() -> None:
    truth = np.array([0.1])
    assert measure(truth.astype(np.float32), truth).max_abs == abs(float(np.float32(0.1)) - 0.1)


def test_integers_and_booleans_count_mismatches_across_widths() -> None:
    assert measure(np.array([1, 2, 4], np.int32), np.array([1, 2, 3], np.int64)).mismatches == 1
    assert measure(np.array([True, False]), np.array([True, True])).mismatches == 1


def test_shapes_and_kinds_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        measure(np.ones((2, 1)), np.ones(2))
    with pytest.raises(ValueError, match="kinds differ"):
        measure(np.ones(2, np.int64), np.ones(2))


def test_zero_truth() -> None:
    assert measure(np.zeros(3), np.zeros(3)).relative == 0
    assert measure(np.array([0.0, 1e-300]), np.zeros(2)).relative == math.inf
