"""What is said of gradients whose common norm is not finite."""

import math

from detr_common.finite import gradients_told


def test_gradients_that_are_not_finite_are_named() -> None:
    told = gradients_told(math.nan, {"a.weight": math.nan, "a.bias": 2e38, "b.weight": math.inf})
    assert told == "the norm of the gradients is nan; 2 gradients are not finite: a.weight, b.weight"


def test_a_norm_that_overflows_although_each_gradient_is_finite_is_told_so() -> None:
    told = gradients_told(math.inf, {"a.weight": 1e38, "a.bias": 2e38})
    assert told == "the norm of the gradients is inf; each is finite, the largest, of a.bias, up to 2e+38"
