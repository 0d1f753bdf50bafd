"""Generated checkpoint trees, and their comparison."""

import argparse
from collections import Counter, OrderedDict

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

from weight_convert.tree import keep_numpy

DTYPES = [
    *map(np.dtype, ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16")),
    np.dtype(ml_dtypes.bfloat16),
]


@st.composite
def arrays(draw):
    """Any bits (NaNs with payloads and infinities too), any layout: empty, 0-d, transposed, strided, reversed."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = int(np.prod(shape, dtype=int))
    raw = rng.integers(0, 2 if dtype.kind == "b" else 256, count * dtype.itemsize, dtype=np.uint8)
    array = raw.view(dtype).reshape(shape) if count else np.zeros(shape, dtype)
    layout = draw(st.sampled_from(["plain", "transposed", "strided", "reversed", "read-only"]))
    if layout == "transposed":
        array = array.T
    elif layout == "strided" and shape:
        array = np.repeat(array, 2, axis=0)[::2]
    elif layout == "reversed" and shape:
        array = array[::-1]
    elif layout == "read-only":
        array.flags.writeable = False
    return array


@st.composite
def numpy_values(draw):
    """What is NumPy's in every format: numbers and marked arrays."""
    array = draw(arrays())
    if draw(st.booleans()) or array.dtype == DTYPES[-1]:
        return keep_numpy(array)
    return np.random.default_rng(array.size).integers(0, 2, (1,)).astype(array.dtype)[0]


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.text(min_size=255, max_size=257, alphabet="aé")
    | st.binary(max_size=5)
    | st.binary(min_size=255, max_size=257)
    | st.complex_numbers(allow_nan=False)
)
keys = st.text(max_size=5) | st.integers(-3, 300) | st.tuples(st.integers(0, 3), st.text(max_size=2))
names = st.text(alphabet="abcdefgh_", min_size=1, max_size=5)


def _namespace(values):
    return argparse.Namespace(**values)


def _ordered(pair):
    ordered = OrderedDict(pair[0])
    if pair[1]:
        ordered._metadata = OrderedDict(pair[1])
    return ordered


trees = st.recursive(
    arrays() | scalars | numpy_values(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(names, inner, max_size=3).map(_namespace)
        | st.tuples(*[st.dictionaries(names, inner, max_size=3)] * 2).map(_ordered)
        | st.dictionaries(keys, inner, max_size=3).map(Counter)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=12,
)
state_dicts = st.dictionaries(st.text(min_size=1, max_size=8), arrays(), min_size=1, max_size=5)


def same(left, right):
    """Equal in kind, order, shape, dtype and every bit; written apart from the product's own comparison."""
    if isinstance(left, (np.ndarray, np.generic)):
        return (
            type(left) is type(right)
            and left.dtype == right.dtype
            and left.shape == right.shape
            and left.tobytes() == right.tobytes()
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, argparse.Namespace):
        return same(vars(left), vars(right))
    if isinstance(left, dict):
        if len(left) != len(right) or not all(map(same, left, right)):
            return False
        attributes = isinstance(left, OrderedDict)
        return all(same(left[key], right[key]) for key in left) and (not attributes or same(vars(left), vars(right)))
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right) if isinstance(left, (float, complex)) else left == right
