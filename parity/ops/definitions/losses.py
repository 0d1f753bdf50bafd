"""Losses and activations."""

from __future__ import annotations

from typing import Any

import jittor as jt
import numpy as np
import torch
from hypothesis import strategies as st
from torch.nn import functional as pt_f

import detr_jt.criterion
import detr_jt.layers
import detr_pt.criterion
from parity.ops.cases import LARGE, TINY, alike, array, bools, case, floats, picks, sizes
from parity.ops.definitions.boxes import largest
from parity.ops.operation import Case, Operation

Tensor = Any
_logits = floats(largest=20.0)


@st.composite
def classified(draw: st.DrawFn) -> Case:
    """Generate logits with labels and class weights, some of them 0."""
    rows, classes = draw(sizes((2, 8), (2, 6)))
    arrays = {
        "x": draw(array((rows, classes), _logits)),
        "y": draw(array((rows,), st.integers(0, classes - 1), "int64")),
        "w": draw(array((classes,), picks(0.1, 1, 2.5))),
    }
    return Case(arrays)


@st.composite
def masked(draw: st.DrawFn) -> Case:
    """Generate scores and a mask; rows may be wholly masked."""
    shape = draw(sizes((2, 3), (2, 4), (2, 6)))
    return Case({"x": draw(array(shape, _logits)), "m": draw(bools(shape))})


LOSSES = (
    Operation(
        "cross_entropy, weighted",
        classified(),
        lambda x, y, w: detr_pt.criterion.CrossEntropy()(x, y, w),
        lambda x, y, w: detr_jt.criterion.CrossEntropy()(x, y, w),
        magnitude=lambda x, y, w: float(np.abs(x).max()) + 1,
    ),
    Operation(
        "l1_distance",
        alike(st.tuples(st.integers(0, 6), st.just(4)), floats(), floats()),
        lambda x, y: (x - y).abs().sum(-1),
        lambda x, y: detr_jt.layers.absolute(x - y).sum(-1),
        magnitude=largest,
    ),
    Operation(
        "softmax",
        case(x=array(sizes((2, 3), (2, 4), (2, 6)), floats(*LARGE))),
        lambda x: x.softmax(-1),
        lambda x: jt.nn.softmax(x, dim=-1),
        lambda x: jt.nn.softmax(x),
        "softmax-axis",
    ),
    Operation(
        "log_softmax",
        case(x=array(sizes((2, 3), (2, 4), (2, 6)), _logits)),
        lambda x: x.log_softmax(-1),
        lambda x: jt.nn.log_softmax(x, dim=-1),
        magnitude=largest,
    ),
    Operation(
        "softmax, padded rows",
        masked(),
        lambda x, m: x.masked_fill(m, float("-inf")).softmax(-1),
        lambda x, m: jt.nn.softmax(x.masked_fill(m, float("-inf")), dim=-1),
    ),
    Operation(
        "sigmoid",
        case(x=array(sizes((2, 4), (2, 5)), floats(25.0, -25.0, 1e-30, 1e4))),
        torch.sigmoid,
        jt.sigmoid,
    ),
    Operation(
        "sigmoid, tail",
        case(x=array(sizes((2, 4)), st.floats(-80, -40, width=32))),
        torch.sigmoid,
        lambda x: 1 / (1 + jt.exp(-x)),
        jt.sigmoid,
        "sigmoid-tail",
    ),
    Operation(
        "log_sigmoid",
        case(x=array(sizes((2, 4), (2, 5)), _logits)),
        pt_f.logsigmoid,
        lambda x: jt.minimum(x, jt.zeros_like(x)) - jt.log(1 + jt.exp(-jt.abs(x))),
        magnitude=lambda x: 1.0,
    ),
    Operation("relu", case(x=array(sizes((2, 4), (2, 5)), floats(*TINY, *LARGE))), torch.relu, jt.nn.relu),
)
