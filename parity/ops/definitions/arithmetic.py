"""Element by element: products, quotients, rounding, clamping, choosing."""

from __future__ import annotations

import jittor as jt
import numpy as np
import torch
from hypothesis import strategies as st

from detr_jt.layers import constant
from parity.ops.cases import LARGE, NOT_FINITE, TINY, alike, array, bools, case, floats, sizes, with_nan
from parity.ops.operation import Array, Case, Operation

_shape = sizes((2, 3), (2, 5))
_any = case(x=array(_shape, floats(*LARGE, *TINY)))
_positive = case(x=array(_shape, st.floats(2.0**-10, 2.0**10, width=32)))
_integers = case(x=array(_shape, st.integers(-20, 20), "int64"))


@st.composite
def products(draw: st.DrawFn) -> Case:
    """Generate matrices of a batch that can be multiplied; an inner axis may be long."""
    batch, rows, inner, columns = draw(sizes((2, 3), (2, 4), (2, 40), (2, 4)))
    return Case({"x": draw(array((batch, rows, inner), floats())), "y": draw(array((batch, inner, columns), floats()))})


def _product_scale(x: Array, y: Array) -> float:
    return float((np.abs(x) @ np.abs(y)).max(initial=0.0))


def _filled(x: Array, m: Array) -> Case:
    return Case({"x": x, "m": m})


ARITHMETIC = (
    Operation("matmul", products(), torch.matmul, jt.matmul, magnitude=_product_scale),
    Operation(
        "constant beside a tensor",
        _any,
        lambda x: x * 0.1,
        lambda x: x * constant(0.1, x),
        lambda x: x * 0.1,
        "float-scalar-float64",
    ),
    Operation(
        "masked_fill",
        st.builds(_filled, array((3, 4), floats()), bools((3, 4))),
        lambda x, m: x.masked_fill(m, float("-inf")),
        lambda x, m: x.masked_fill(m, float("-inf")),
    ),
    Operation(
        "where",
        st.builds(_filled, array((3, 4), floats(*NOT_FINITE[:2])), bools((3, 4))),
        lambda x, m: torch.where(m, x, torch.zeros_like(x)),
        lambda x, m: jt.where(m, x, jt.zeros_like(x)),
    ),
    Operation(
        "masked NaN",
        st.builds(_filled, array((3, 4), with_nan()), bools((3, 4))),
        lambda x, m: torch.where(m, x, torch.zeros_like(x)),
        lambda x, m: jt.where(m, x, jt.zeros_like(x)),
    ),
    Operation("clamp", _any, lambda x: (x.clamp(0, 1), x.clamp(min=-1)), lambda x: (x.clamp(0, 1), x.clamp(min_v=-1))),
    Operation(
        "clamp, NaN",
        case(x=array(_shape, with_nan())),
        lambda x: x.clamp(0, 1),
        lambda x: jt.where(jt.isnan(x), x, x.clamp(0, 1)),
        lambda x: x.clamp(0, 1),
        "clamp-nan",
    ),
    Operation(
        "floor division of integers",
        _integers,
        lambda x: x // 4,
        lambda x: (x - ((x % 4) + 4) % 4) // 4,
        lambda x: x // 4,
        "floor-division",
    ),
    Operation(
        "remainder of integers", _integers, lambda x: x % 4, lambda x: ((x % 4) + 4) % 4, lambda x: x % 4, "remainder"
    ),
    Operation(
        "round",
        case(x=array(_shape, st.one_of(st.integers(-9, 9).map(lambda k: k / 2), floats()))),
        torch.round,
        # Halves lie beside an even number and an odd one; the even one is twice the rounded half of either.
        lambda x: jt.where(x - x.floor() == 0.5, (x / 2 + 0.25).floor() * 2, (x + 0.5).floor()),
        jt.round,
        "round-half",
    ),
    Operation("floor, ceil", _positive, lambda x: (x.floor(), x.ceil()), lambda x: (x.floor(), x.ceil())),
    Operation(
        "division",
        alike(_shape, floats(*LARGE), st.floats(0.5, 4.0, width=32)),
        lambda x, y: x / y,
        lambda x, y: x / y,
    ),
    Operation(
        "sqrt, exp, log",
        _positive.map(lambda c: Case({"x": c.arrays["x"] / 64})),
        lambda x: (x.sqrt(), x.exp(), x.log()),
        lambda x: (x.sqrt(), x.exp(), x.log()),
        magnitude=lambda x: 1.0,
    ),
    Operation(
        "sin, cos",
        case(x=array(_shape, floats())),
        lambda x: (x.sin(), x.cos()),
        lambda x: (x.sin(), x.cos()),
        magnitude=lambda x: 1.0,
    ),
    Operation(
        "bytes to fractions",
        case(x=array(_shape, st.integers(0, 255), "uint8")),
        lambda x: x.double() / 255,
        lambda x: x.float64() / jt.array([255.0], dtype="float64"),
        lambda x: x / 255,
        "bytes-divided",
    ),
    Operation("logical_not", case(m=bools(_shape)), lambda m: ~m, jt.logical_not, lambda m: ~m, "bool-not"),
)
