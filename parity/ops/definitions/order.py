"""What comes first: argmax, sort, topk, with ties."""

from __future__ import annotations

import jittor as jt
import numpy as np
import torch
from hypothesis import strategies as st

from parity.ops.cases import LARGE, array, case, floats, sizes
from parity.ops.operation import Operation

_tied = case(x=array(sizes((2, 4), (2, 6)), floats()))
# Few values and many elements, since Jittor's own order of ties is that of PyTorch up to sixteen elements.
_many_tied = case(x=array(sizes((2, 3), (17, 40)), st.sampled_from([0.0, 0.5, 1.0])))


def _stable_order(x: jt.Var, descending: bool = False) -> jt.Var:
    values = -x.numpy() if descending else x.numpy()
    return jt.array(np.argsort(values, axis=-1, kind="stable").astype(np.int32))


ORDER = (
    Operation(
        "argmax, ties",
        _tied,
        lambda x: x.argmax(-1),
        lambda x: x.argmax(-1)[0],
        lambda x: x.argmax(-1),
        "argmax-pair",
    ),
    Operation(
        "max with indices, ties",
        _tied,
        lambda x: tuple(x.max(-1)),
        lambda x: x.argmax(-1)[::-1],
        lambda x: x.max(-1),
        "max-values-only",
    ),
    Operation(
        "argsort, ties",
        _many_tied,
        lambda x: x.argsort(dim=-1, stable=True),
        _stable_order,
        lambda x: x.argsort(-1)[0],
        "sort-ties",
    ),
    Operation("sort, values", _tied, lambda x: x.sort(-1).values, lambda x: x.sort(-1)[0]),
    Operation(
        "argsort of different numbers",
        case(x=array(sizes((2, 30)), st.integers(-(10**6), 10**6), "int64").map(np.unique)),
        lambda x: x.float().argsort(-1),
        lambda x: x.float32().argsort(-1)[0],
        lambda x: x.float32().argsort(-1),
        "argsort-pair",
    ),
    Operation(
        "topk, values",
        case(x=array(sizes((2, 3), (3, 9)), floats(*LARGE))),
        lambda x: x.topk(3, -1)[0],
        lambda x: x.topk(3, -1)[0],
    ),
    Operation(
        "topk of nothing",
        case(x=array(st.tuples(st.integers(0, 1), st.integers(3, 5)), floats())),
        lambda x: x.topk(1, -1)[0],
        lambda x: x.topk(1, -1)[0] if x.numel() else x[:, :1],
        lambda x: x.topk(1, -1)[0],
        "topk-empty",
    ),
    Operation(
        "maximum, minimum",
        case(x=array((3, 4), floats(*LARGE)), y=array((3, 4), floats(*LARGE))),
        lambda x, y: (torch.maximum(x, y), torch.minimum(x, y)),
        lambda x, y: (jt.maximum(x, y), jt.minimum(x, y)),
    ),
)
