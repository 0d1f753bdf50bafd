"""Reading and writing elements; every index is in range, as Jittor checks none."""

from __future__ import annotations

from typing import Any

import jittor as jt
import numpy as np
from hypothesis import strategies as st

from parity.ops.cases import array, bools, floats, sizes
from parity.ops.operation import Array, Case, Operation

Tensor = Any


@st.composite
def pairs(draw: st.DrawFn, lowest: int = 0) -> Case:
    """Generate a map and two indices of one length, possibly none, that may repeat and may be negative."""
    batch, rows, columns = draw(sizes((2, 3), (3, 5), (2, 3)))
    count = draw(st.integers(0, 6))
    arrays = {
        "x": draw(array((batch, rows, columns), floats())),
        "b": draw(array((count,), st.integers(0, batch - 1), "int64")),
        "s": draw(array((count,), st.integers(lowest and -rows, rows - 1), "int64")),
    }
    return Case(arrays)


@st.composite
def assignments(draw: st.DrawFn, negative: bool) -> Case:
    """Generate a table and cells of it, each once, with values to write.

    Negative columns are of rows other than the first, where the naive form writes inside the table.
    """
    rows, columns = draw(sizes((2, 3), (3, 5)))
    first = columns if negative else 0
    cells = draw(st.lists(st.integers(first, rows * columns - 1), unique=True, max_size=6))
    b, s = np.divmod(np.array(cells, dtype=np.int64), columns)
    arrays: dict[str, Array] = {
        "t": draw(array((rows, columns), st.integers(0, 91), "int64")),
        "b": b,
        "s": s - columns if negative else s,
        "v": draw(array((len(cells),), st.integers(0, 91), "int64")),
    }
    return Case(arrays)


@st.composite
def selections(draw: st.DrawFn) -> Case:
    """Generate a table and a mask of its rows; none or all may be chosen."""
    rows, columns = draw(sizes((2, 5), (2, 4)))
    return Case({"x": draw(array((rows, columns), floats())), "m": draw(bools((rows,)))})


@st.composite
def gathered(draw: st.DrawFn) -> Case:
    """Generate a table and a column for each of its rows."""
    rows, columns = draw(sizes((2, 5), (2, 4)))
    index = draw(array((rows, 2), st.integers(0, columns - 1), "int64"))
    return Case({"x": draw(array((rows, columns), floats())), "i": index})


def _assign(t: Tensor, b: Tensor, s: Tensor, v: Tensor) -> Tensor:
    t[b, s] = v
    return t


def _assign_wrapped(t: Tensor, b: Tensor, s: Tensor, v: Tensor) -> Tensor:
    t[b, jt.where(s < 0, s + t.shape[1], s)] = v
    return t


def _write_rows(x: Tensor, m: Tensor) -> Tensor:
    for row in x:
        row[0] = 9.0
    return x


def _write_rows_jt(x: Tensor, m: Tensor) -> Tensor:
    for i in range(len(x)):
        x[i, 0] = 9.0
    return x


INDEXING = (
    Operation("index pairs", pairs(), lambda x, b, s: x[b, s], lambda x, b, s: x[b, s]),
    Operation("index pairs, negative", pairs(-1), lambda x, b, s: x[b, s], lambda x, b, s: x[b, s]),
    Operation(
        "index, list for tuple",
        # Rows only as far as there are images, so that the naive form reads inside the map.
        pairs().map(lambda c: Case(c.arrays | {"s": c.arrays["s"] % c.arrays["x"].shape[0]})),
        lambda x, b, s: x[b, s],
        lambda x, b, s: x[(b, s)],
        lambda x, b, s: x[[b, s]],
        "index-list",
    ),
    Operation("assign pairs", assignments(False), _assign, _assign),
    Operation(
        "assign pairs, negative", assignments(True), _assign, _assign_wrapped, _assign, "index-negative-assignment"
    ),
    Operation("index mask", selections(), lambda x, m: x[m], lambda x, m: x[m]),
    Operation(
        "index integers",
        selections(),
        lambda x, m: (x[-1], x[:, -1], x[..., :1], x[:, None]),
        lambda x, m: (x[-1], x[:, -1], x[..., :1], x[:, None]),
    ),
    Operation("write in a loop over rows", selections(), _write_rows, _write_rows_jt, _write_rows, "loop-over-rows"),
    Operation("gather", gathered(), lambda x, i: x.gather(1, i), lambda x, i: x.gather(1, i)),
)
