from __future__ import annotations

import numpy as np
import pytest

from parity.metrics import Error, measure
from parity.policy import ULP32, Calibrated32, Exact64


def error(max_abs: float, rms: float, mismatches: int = 0) -> Error:
    return Error(max_abs, rms, scale=1.0, truth_rms=1.0, mismatches=mismatches, size=1000)


def test_float64_bound_is_relative_to_the_scale() -> None:
    truth = np.array([1000.0, 1.0])
    policy = Exact64()
    assert policy.accepts(measure(truth + np.array([0, 9e-10]), truth))
    assert not policy.accepts(measure(truth + np.array([0, 2e-9]), truth))
    assert not policy.accepts(measure(np.array([1, 2]), np.array([1, 3])))


@pytest.mark.parametrize(
    ("port", "reference", "accepted"),
    [
        (error(2e-6, 1.9e-6), error(1e-6, 1e-6), True),
        (error(2e-6, 2.1e-6), error(1e-6, 1e-6), False),
        (error(4.1e-6, 1e-6), error(1e-6, 1e-6), False),
        (error(3.9e-6, 1e-6), error(1e-6, 1e-6), True),
    ],
)
def test_float32_is_judged_by_the_references_own_error(port: Error, reference: Error, accepted: bool) -> None:
    assert Calibrated32().accepts(port, reference) is accepted


def test_the_norm_of_few_elements_is_judged_like_a_single_element() -> None:
    def few(rms: float, size: int) -> Error:
        return Error(1e-6, rms, scale=1.0, truth_rms=1.0, mismatches=0, size=size)

    policy = Calibrated32()
    assert policy.accepts(few(3.9e-6, 999), few(1e-6, 999)) and not policy.accepts(few(4.1e-6, 999), few(1e-6, 999))
    assert not policy.accepts(few(2.1e-6, 1000), few(1e-6, 1000))


def test_an_exact_reference_counts_as_a_few_roundings() -> None:
    exact = error(0.0, 0.0)
    assert Calibrated32().accepts(error(7 * ULP32, 7 * ULP32), exact)
    assert not Calibrated32().accepts(error(9 * ULP32, 9 * ULP32), exact)


def test_labels_may_flip_as_often_as_the_references_or_one_in_a_hundred() -> None:
    policy = Calibrated32()
    assert policy.accepts(error(1.0, 0.1, mismatches=20), error(0.0, 0.0))
    assert not policy.accepts(error(1.0, 0.1, mismatches=21), error(0.0, 0.0))
    few = Error(1.0, 0.1, 1.0, 1.0, mismatches=1, size=50)
    assert not policy.accepts(few, Error(0.0, 0.0, 1.0, 1.0, mismatches=0, size=50))


def test_nan_in_the_port_is_never_accepted() -> None:
    truth = np.ones(4)
    port = measure(np.array([1, 1, 1, np.nan], np.float32), truth)
    assert not Calibrated32().accepts(port, measure(np.ones(4, np.float32) * 1.1, truth))
    assert not Exact64().accepts(port)
