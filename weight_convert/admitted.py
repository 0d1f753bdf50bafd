"""What a pickle may build: containers, numbers, strings, argparse.Namespace and NumPy arrays."""

from __future__ import annotations

import argparse
import math
import re
from collections import Counter, OrderedDict
from typing import Any

import ml_dtypes
import numpy as np

from weight_convert.errors import CheckpointError
from weight_convert.tree import Array
from weight_convert.unpickle import Builder, Global, members

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_NUMBER = re.compile(r"[?]|[biufc][0-9]{1,2}")
_MAX_DIMENSIONS = 32


class DType:
    """A dtype whose byte order the pickle gives afterwards."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def setstate(self, state: Any) -> None:
        """Take NumPy's state: (version, byte order, subarray, names, fields, size, alignment, flags)."""
        if type(state) is not tuple or len(state) < 5 or state[2:5] != (None, None, None):
            raise CheckpointError("an array with fields or of another unusual dtype")
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")
        elif state[1] not in ("<", "|", "="):
            raise CheckpointError("a dtype with an unknown byte order")


class Pending:
    """An array whose shape and numbers the pickle gives afterwards."""

    def __init__(self) -> None:
        self.array: Array | None = None

    def setstate(self, state: Any) -> None:
        """Take NumPy's state: (version, shape, dtype, column order, bytes)."""
        if type(state) is not tuple or len(state) != 5 or not isinstance(state[2], DType):
            raise CheckpointError("damaged array")
        self.array = build_array(state[4], state[2].dtype, state[1], bool(state[3]))


def build_array(data: Any, dtype: np.dtype[Any], shape: Any, fortran: bool) -> Array:
    """An array of bytes, in the machine's byte order.

    Raises:
        CheckpointError: the shape is not one, or the number of bytes is not what it asks for.
    """
    check_shape(shape)
    needed = math.prod(shape) * dtype.itemsize
    if isinstance(data, (list, str)):
        raise CheckpointError("an array of Python objects or in an outdated encoding; save it as numbers")
    if memoryview(data).nbytes != needed:
        raise CheckpointError(f"damaged array (shape {list(shape)} of {dtype} needs {needed} bytes)")
    array: Array = np.ndarray(shape, dtype, data if needed else None, order="F" if fortran else "C")
    if not array.flags.aligned or not array.flags.writeable or not dtype.isnative:
        array = array.astype(dtype.newbyteorder("="))
    return array


def check_shape(shape: Any) -> None:
    """Refuse what is not a tuple of at most 32 sizes."""
    if type(shape) is not tuple or len(shape) > _MAX_DIMENSIONS:
        raise CheckpointError("damaged array (its shape)")
    if not all(type(size) is int and 0 <= size < 2**62 for size in shape):
        raise CheckpointError("damaged array (its shape)")


def _dtype(kind: Any, *_: Any) -> DType:
    if isinstance(kind, Global) and kind.module == "ml_dtypes":
        return DType(BFLOAT16)
    if type(kind) is not str or not _NUMBER.fullmatch(kind):
        shown = ascii(kind[:20]) if type(kind) is str else f"given by a {type(kind).__name__}"
        raise CheckpointError(f"an array of dtype {shown}; only numbers are admitted")
    return DType(np.dtype(kind))


def _reconstruct(kind: Any, *_: Any) -> Pending:
    if not isinstance(kind, Global) or kind.name != "ndarray":
        raise CheckpointError("a subclass of numpy.ndarray; save it as a plain array")
    return Pending()


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, DType):
        raise CheckpointError("damaged number")
    return build_array(data, dtype.dtype, (), False)[()]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    if not isinstance(dtype, DType):
        raise CheckpointError("damaged array")
    return build_array(data, dtype.dtype, shape, order == "F")


def _var(value: Any) -> Any:
    if not isinstance(value, (Pending, np.ndarray)):
        raise CheckpointError("a damaged Jittor Var")
    return value


def _refuse(*_: Any) -> Any:
    raise CheckpointError("damaged pickle (a type is called that is only named)")


def _namespace() -> argparse.Namespace:
    return argparse.Namespace()


def _mapping(kind: type[dict[Any, Any]]) -> Builder:
    def build(*items: Any) -> Any:
        mapping = kind()
        if kind is Counter and items and not isinstance(items[0], dict):
            raise CheckpointError("damaged Counter")  # of anything else it would count the members
        pairs = items[0].items() if items and isinstance(items[0], dict) else items[0] if items else ()
        for key, value in pairs:
            members((key,))
            mapping[key] = value
        return mapping

    return build


def _sequence(kind: type) -> Builder:
    def build(*items: Any) -> Any:
        if items and type(items[0]) not in (list, tuple, set, frozenset):
            raise CheckpointError(f"damaged {kind.__name__}")
        return kind(members(items[0])) if items and kind in (set, frozenset) else kind(*items)

    return build


def _complex(real: Any, imaginary: Any) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        raise CheckpointError("damaged complex number")
    return complex(real, imaginary)


def _encode(text: Any, encoding: Any) -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise CheckpointError("damaged bytes")
    return text.encode("latin-1")


def _empty_bytes() -> bytes:
    return b""


def _make_table() -> dict[tuple[str, str], Builder]:
    table: dict[tuple[str, str], Builder] = {
        ("argparse", "Namespace"): _namespace,
        ("collections", "OrderedDict"): _mapping(OrderedDict),
        ("collections", "Counter"): _mapping(Counter),
        ("numpy", "ndarray"): _refuse,
        ("numpy", "dtype"): _dtype,
        ("ml_dtypes", "bfloat16"): _refuse,
        ("_codecs", "encode"): _encode,
        ("jittor", "Var"): _var,
        ("jittor_core", "Var"): _var,
        ("jittor.jittor_core", "Var"): _var,
        ("jittor", "jittor_core.Var"): _var,
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = _reconstruct
        table[f"{core}.multiarray", "scalar"] = _scalar
        table[f"{core}.numeric", "_frombuffer"] = _from_buffer
    for builtins in ("builtins", "__builtin__"):
        table[builtins, "complex"] = _complex
        table[builtins, "bytes"] = _empty_bytes
        for kind in (set, frozenset, list, tuple):
            table[builtins, kind.__name__] = _sequence(kind)
    return table


TABLE = _make_table()


def leaf(value: Any, place: str) -> Any:
    """The finished form of a leaf that `unpickle.load` left.

    Raises:
        CheckpointError: the leaf is not data.
    """
    if isinstance(value, Pending) and value.array is not None:
        return value.array
    if isinstance(value, (np.ndarray, np.generic)):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    what = str(value) if isinstance(value, Global) else type(value).__name__
    raise CheckpointError(f"{place or 'the top'} holds {what}, which is not data")
