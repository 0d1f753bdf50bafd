"""Putting together and taking apart."""

from __future__ import annotations

import jittor as jt
import torch
from hypothesis import strategies as st

from parity.ops.cases import alike, array, case, floats, sizes
from parity.ops.operation import Operation

_two = alike(sizes((2, 3), (2, 4)), floats(), floats())

SHAPES = (
    Operation(
        "concat",
        case(x=array(sizes((0, 3), (4, 4)), floats()), y=array(st.tuples(st.integers(2, 3), st.just(4)), floats())),
        lambda x, y: torch.cat([x, y]),
        lambda x, y: jt.concat([x, y]),
    ),
    Operation("stack", _two, lambda x, y: torch.stack([x, y], -1), lambda x, y: jt.stack([x, y], dim=-1)),
    Operation(
        "stack of numbers",
        alike(sizes((2, 3), (2, 4)), floats(), floats()),
        lambda x, y: torch.stack([x[0, 0] * 2, y[0, 0]]),
        lambda x, y: jt.concat([x[0, 0] * 2, y[0, 0]]),
        lambda x, y: jt.stack([x[0, 0] * 2, y[0, 0]]),
        "stack-scalars",
    ),
    Operation(
        "split",
        case(x=array(st.tuples(st.integers(2, 3), st.just(5)), floats())),
        lambda x: x.split([2, 0, 3], -1),
        lambda x: x.split([2, 0, 3], -1),
    ),
    Operation(
        "permute, reshape, flatten",
        case(x=array(sizes((2, 3), (2, 3), (2, 4)), floats())),
        lambda x: (x.permute(2, 0, 1), x.permute(2, 0, 1).reshape(-1), x.flatten(1), x.transpose(1, 2)),
        lambda x: (x.permute(2, 0, 1), x.permute(2, 0, 1).reshape(-1), x.flatten(1), x.transpose(1, 2)),
    ),
    Operation(
        "unbind, repeat, flip",
        case(x=array(sizes((2, 3), (2, 2)), floats())),
        lambda x: (*x.unbind(-1), x.repeat(2, 1), x.flip([0])),
        lambda x: (*x.unbind(-1), x.repeat(2, 1), x.flip([0])),
    ),
)
