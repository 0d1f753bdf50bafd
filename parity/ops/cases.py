"""Hypothesis strategies for inputs of operations.

Ranks are fixed for each operation and sizes are free, since Jittor compiles a kernel for each rank and type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.strategies import SearchStrategy

from parity.ops.operation import Array, Case

# Few enough that ties are common.
_COMMON = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.5, 3.0)
TINY = (1e-40, -1e-40, 1e-30, -3e-38)
LARGE = (1e4, -1e4, 3e6)
NOT_FINITE = (float("inf"), float("-inf"), float("nan"))


def picks(*values: float) -> SearchStrategy[float]:
    """Generate one of these numbers, rounded to float32."""
    return st.sampled_from([float(np.float32(x)) for x in values])


def floats(*extra: float, largest: float = 10.0) -> SearchStrategy[float]:
    """Generate numbers that float32 holds: ties, zeros of both signs, any in between, and some more."""
    return st.one_of(picks(*_COMMON, *extra), st.floats(-largest, largest, width=32, allow_subnormal=False))


def with_nan() -> SearchStrategy[float]:
    """Generate numbers of which half are infinite or NaN."""
    return st.one_of(picks(*NOT_FINITE), floats())


def sizes(*ranges: tuple[int, int]) -> SearchStrategy[tuple[int, ...]]:
    """Generate shapes, each axis from a range that includes its ends.

    A range from 0 leaves 1 out: Jittor compiles another kernel for an axis of one element.
    """
    return st.tuples(*(st.sampled_from([n for n in range(low, high + 1) if low or n != 1]) for low, high in ranges))


def array(shape: Any, elements: SearchStrategy[Any], dtype: str = "float32") -> SearchStrategy[Array]:
    """Generate an array; ``shape`` is a shape or a strategy of shapes."""
    return hnp.arrays(dtype, shape, elements=elements)


def bools(shape: Any) -> SearchStrategy[Array]:
    """Generate a mask."""
    return array(shape, st.booleans(), "bool")


def normal(seed: int, *shape: int, scale: float = 1.0) -> Array:
    """Draw float32 numbers from a normal distribution."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


seeds = st.integers(0, 2**20)


def case(**arrays: SearchStrategy[Array]) -> SearchStrategy[Case]:
    """Generate cases of independent arrays."""
    # A tuple, as the order of the arrays is that of the arguments; a dictionary would be generated in another.
    return st.tuples(*arrays.values()).map(lambda values: Case(dict(zip(arrays, values, strict=True))))


@st.composite
def alike(draw: st.DrawFn, /, shape: Any, *elements: SearchStrategy[Any]) -> Case:
    """Generate arrays x, y, z of one shape."""
    common = draw(shape)
    names = "xyz"[: len(elements)]
    arrays = {name: draw(array(common, e)) for name, e in zip(names, elements, strict=True)}
    return Case(arrays)
