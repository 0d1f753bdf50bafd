"""Sums, means, extremes and running sums."""

from __future__ import annotations

import jittor as jt
import numpy as np
import torch
from hypothesis import strategies as st

from parity.ops.cases import LARGE, TINY, array, bools, case, floats, normal, seeds, sizes, with_nan
from parity.ops.definitions.boxes import largest
from parity.ops.operation import Array, Case, Operation


def total(x: Array, **_: object) -> float:
    """Return the largest sum of absolute values that any axis can have."""
    return float(np.abs(x).sum())


def _highest_jt(x: jt.Var) -> jt.Var:
    """Let -inf and NaN through, which Jittor's own maximum leaves out."""
    bare = jt.where(jt.isinf(x).all(-1), x[..., 0], x.max(-1))
    bare = jt.where(jt.logical_and(jt.isinf(x), x > 0).any(-1), jt.full_like(bare, float("inf")), bare)
    return jt.where(jt.isnan(x).any(-1), jt.full_like(bare, float("nan")), bare)


@st.composite
def extremes(draw: st.DrawFn) -> Case:
    """Generate rows of finite numbers, rows of minus infinity and rows with a NaN."""
    rows, columns = draw(sizes((2, 5), (2, 6)))
    x = draw(array((rows, columns), floats(*LARGE)))
    x[draw(bools((rows,)))] = -np.inf
    x[draw(bools((rows,))), 0] = np.nan
    return Case({"x": x})


_some = case(x=array(sizes((2, 3), (2, 4), (2, 6)), floats(*LARGE, *TINY)))
_with_empty = case(x=array(sizes((0, 3), (0, 4)), floats()))

REDUCTIONS = (
    Operation("sum", _some, lambda x: x.sum(1), lambda x: x.sum(1), magnitude=total),
    Operation(
        "sum of many",
        seeds.map(lambda seed: Case({"x": np.abs(normal(seed, 100, 100))})),
        lambda x: x.sum(),
        lambda x: x.sum(1).sum(),
        lambda x: x.sum(),
        "sum-sequential",
    ),
    Operation("sum, empty", _with_empty, lambda x: x.sum(1), lambda x: x.sum(1), magnitude=total),
    Operation(
        "mean",
        _some,
        lambda x: (x.mean(), x.mean(1)),
        lambda x: (x.mean(-1).mean(-1).mean(-1), x.mean(1)),
        magnitude=largest,
    ),
    Operation(
        "mean, empty",
        _with_empty,
        lambda x: x.mean(),
        lambda x: x.mean() if x.numel() else jt.full((1,), float("nan"), dtype=str(x.dtype)),
        lambda x: x.mean(),
        "mean-empty",
        total,
    ),
    Operation(
        "var",
        case(x=array(sizes((2, 3), (2, 6)), floats())),
        lambda x: x.var(1),
        lambda x: ((x - x.mean(1, keepdims=True)) ** 2).sum(1) / jt.array([x.shape[1] - 1], dtype=str(x.dtype)),
        lambda x: x.var(1),
        "var-biased",
        lambda x: float((x**2).sum()),
    ),
    Operation(
        "norm",
        case(x=array(sizes((2, 4), (2, 6)), floats())),
        torch.linalg.vector_norm,
        lambda x: (x * x).sum().sqrt(),
        lambda x: x.norm(),
        "norm-last-axis",
        lambda x: 10.0,
    ),
    Operation(
        "sum of bytes",
        case(x=array(sizes((2, 4), (2, 6)), st.integers(0, 255), "uint8")),
        lambda x: x.sum(1),
        lambda x: x.int32().sum(1),
        lambda x: x.sum(1),
        "bytes-sum",
    ),
    Operation(
        "max over axis, -inf and NaN",
        extremes(),
        lambda x: x.max(-1).values,
        _highest_jt,
        lambda x: x.max(-1),
        "max-minus-infinity",
    ),
    Operation(
        "cumsum of a mask",
        case(m=bools(sizes((2, 3), (2, 6), (2, 6)))),
        lambda m: (~m).cumsum(1),
        lambda m: jt.logical_not(m).int32().cumsum(1),
        lambda m: jt.logical_not(m).cumsum(1),
        "cumsum-bool",
    ),
    Operation("cumsum", _some, lambda x: x.cumsum(1), lambda x: x.cumsum(1), magnitude=total),
    Operation(
        "any, all",
        case(m=bools(sizes((0, 3), (2, 6)))),
        lambda m: (m.any(1), m.all(1)),
        lambda m: (m.any(1), m.all(1)),
    ),
    Operation(
        "isnan, isinf",
        case(x=array(sizes((0, 3), (2, 6)), with_nan())),
        lambda x: (torch.isnan(x), torch.isinf(x)),
        lambda x: (jt.isnan(x), jt.isinf(x)),
        lambda x: (x != x, jt.isinf(x)),
        "nan-comparison",
    ),
)
