"""What the pickle of a ``.pth`` builds in place of tensors: records of where their numbers lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from weight_convert import admitted
from weight_convert.admitted import check_shape
from weight_convert.errors import CheckpointError
from weight_convert.torch_dtypes import (
    DTYPES,
    QUANTIZED_STORAGES,
    STORAGES,
    UNHELD,
    UNHELD_ARGUMENTS,
    UNHELD_DTYPES,
)
from weight_convert.tree import Array
from weight_convert.unpickle import Builder, Global

DTYPE_NAMES = UNHELD_DTYPES.union(DTYPES)
# A tensor may repeat its storage (stride 0); beyond this many bytes that is an attack or a mistake.
MAX_REPEATED = 1 << 28
# All tensors together may be so many times the file, as views of the same storages, and MAX_REPEATED more.
MAX_VIEWS = 16
_MARKS = ("conj", "neg")


@dataclass
class Storage:
    """A run of numbers in the file that tensors are views of."""

    key: str
    dtype: np.dtype[Any] | None  # None: bytes, whose dtype the tensor gives
    size: int  # in elements of dtype, or bytes
    device: str
    start: int = 0  # bytes into the root storage (legacy views)


@dataclass
class Tensor:
    """A view of a storage; offset and strides are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    flip: bool = False  # a conjugate or negative view, to be resolved
    negate: bool = False
    trained: bool = False  # a Parameter, or a tensor that requires gradients


@dataclass
class Unheld:
    """A tensor that no array can be made of."""

    what: str
    advice: str


class Device:
    """A ``torch.device``, of which only the text is kept."""

    def __init__(self, text: str) -> None:
        self.text = text


def check_reach(tensor: Tensor, data: memoryview) -> int:
    """Check that a tensor lies inside its storage, which is ``data``; return its size in bytes.

    Raises:
        CheckpointError: the tensor reaches beyond its storage, or repeats it too often.
    """
    item = tensor.dtype.itemsize
    count = math.prod(tensor.shape)
    if count:
        last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
        if (tensor.offset + last + 1) * item > data.nbytes:
            raise CheckpointError("has a tensor that reaches beyond its storage; it is damaged")
        if count * item > max(data.nbytes, MAX_REPEATED):
            raise CheckpointError(f"has a tensor of shape {list(tensor.shape)} far larger than its storage")
    return count * item


def as_array(tensor: Tensor, data: memoryview, big_endian: bool) -> Array:
    """The array of a tensor whose storage is ``data``: a view of it where its dtype can be used as it lies there.

    Raises:
        CheckpointError: as `check_reach`.
    """
    count, item = check_reach(tensor, data), tensor.dtype.itemsize
    dtype = tensor.dtype.newbyteorder(">") if big_endian else tensor.dtype
    strides = tuple(stride * item for stride in tensor.strides)
    array: Array = np.ndarray(
        tensor.shape, dtype, data if count else None, tensor.offset * item if count else 0, strides if count else None
    )
    if not array.flags.aligned or not dtype.isnative:
        array = array.astype(tensor.dtype)
    if tensor.flip:
        array = array.conj()
    return -array if tensor.negate else array


def persistent(pid: Any) -> Storage:
    """The storage that a persistent id names.

    Raises:
        CheckpointError: it names none.
    """
    if type(pid) is not tuple or len(pid) != 5 or pid[0] != "storage":
        raise CheckpointError("is damaged (a storage)")
    _, kind, key, device, size = pid
    if not isinstance(kind, Global) or kind.build is not _storage_type or type(key) is not str:
        raise CheckpointError("is damaged (a storage)")
    if type(size) is not int or size < 0:
        raise CheckpointError("is damaged (a storage's size)")
    if type(device) is not str:
        raise CheckpointError("is damaged (a storage's device)")
    return Storage(key, STORAGES.get(kind.name), size, device)


def persistent_legacy(pid: Any, storages: dict[str, Storage]) -> Storage:
    """As `persistent`, in the legacy format: an id may name a part of a storage, and the whole is put in ``storages``.

    Raises:
        CheckpointError: it names none.
    """
    if type(pid) is not tuple or len(pid) != 6:
        raise CheckpointError("is damaged (a storage)")
    storage = persistent(pid[:5])
    if storage.dtype is None:
        raise CheckpointError("is damaged (a storage without dtype)")
    storages.setdefault(storage.key, storage)
    if pid[5] is None:
        return storage
    _, start, size = pid[5]
    if type(start) is not int or type(size) is not int or start < 0 or size < 0:
        raise CheckpointError("is damaged (a storage's view)")
    return Storage(storage.key, storage.dtype, size, storage.device, start * storage.dtype.itemsize)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    check_shape(shape)
    check_shape(strides)
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0 or len(shape) != len(strides):
        raise CheckpointError("is damaged (a tensor)")
    if storage.dtype is None:
        raise CheckpointError("has a tensor without a dtype")
    _check_rest(*rest[:2])
    marks = rest[2] if len(rest) > 2 and rest[2] is not None else {}
    if (
        len(rest) > 3
        or not isinstance(marks, dict)
        or not all(type(name) is str and name in _MARKS and type(mark) is bool for name, mark in marks.items())
    ):
        raise CheckpointError("is damaged (a tensor's marks)")
    flip, negate, trained = bool(marks.get("conj")), bool(marks.get("neg")), bool(rest and rest[0])
    return Tensor(storage, offset, shape, strides, storage.dtype, flip, negate, trained)


def _check_rest(trained: Any = False, hooks: Any = None) -> None:
    """Check what a tensor's numbers do not depend on.

    PyTorch's loader shows a wrong one in its message, which of tuples in tuples takes for ever.
    """
    if type(trained) is not bool or not (hooks is None or (isinstance(hooks, dict) and not hooks)):
        raise CheckpointError("is damaged (a tensor's hooks)")


def _tensor_of_dtype(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor | Unheld:
    """A tensor whose storage is bytes: PyTorch's form for the dtypes without a storage class."""
    if not isinstance(storage, Storage) or len(rest) < 3 or not isinstance(rest[2], Global):
        raise CheckpointError("is damaged (a tensor)")
    if rest[2].name in UNHELD_DTYPES:
        wider = "complex64" if "complex" in rest[2].name else "float32"
        return Unheld(f"a tensor of {rest[2]}", f"save its to(torch.{wider})")
    dtype = DTYPES.get(rest[2].name)
    if dtype is None:
        raise CheckpointError("is damaged (a tensor's dtype)")
    typed = Storage(storage.key, dtype, storage.size, storage.device, storage.start)
    return _tensor(typed, offset, shape, strides, *rest[:2], *rest[3:])


def _parameter(data: Any, trained: Any, hooks: Any) -> Any:
    if not isinstance(data, (Tensor, Unheld)):
        raise CheckpointError("is damaged (a parameter)")
    _check_rest(trained, hooks)
    if isinstance(data, Tensor):
        data.trained = True
    return data


def _parameter_with_state(data: Any, trained: Any, hooks: Any, _state: Any) -> Any:
    return _parameter(data, trained, hooks)


def _unheld(what: str, advice: str) -> Builder:
    def build(*_: Any) -> Unheld:
        return Unheld(what, advice)

    return build


def _subclass(build: Any, kind: Any, arguments: Any, _state: Any) -> Any:
    if not isinstance(build, Global) or not isinstance(kind, Global) or type(arguments) is not tuple:
        raise CheckpointError("is damaged (a tensor)")
    if build.module != "torch._utils":
        raise CheckpointError("is damaged (a tensor)")
    return build.build(*arguments)


def _size(*sizes: Any) -> tuple[int, ...]:
    value = tuple(sizes[0]) if sizes else ()
    check_shape(value)
    return value


def _device(kind: Any, index: Any = None) -> Device:
    # PyTorch keeps a number in a byte, and takes a larger one for another.
    if type(kind) is not str or not (index is None or (type(index) is int and 0 <= index < 128)):
        raise CheckpointError("is damaged (a device)")
    return Device(kind if index is None else f"{kind}:{index}")


def _named(*_: Any) -> Any:
    raise CheckpointError("is damaged (a type is called that is only named)")


def _storage_type(*_: Any) -> Any:
    raise CheckpointError("is damaged (a storage type is called)")


def make_table(unchecked: Callable[[], None]) -> dict[tuple[str, str], Builder]:
    """Everything that the pickle of a ``.pth`` may name: what `admitted.TABLE` has, and PyTorch's own.

    Args:
        unchecked: called where something is built whose arguments are not looked at, since no array is made of them.
    """

    def noted(build: Builder) -> Builder:
        def build_noted(*arguments: Any) -> Any:
            unchecked()
            return build(*arguments)

        return build_noted

    table = dict(admitted.TABLE)
    for name in (*STORAGES, *QUANTIZED_STORAGES, "UntypedStorage"):
        table["torch", name] = _storage_type
        table["torch.storage", name] = _storage_type
    for function, (what, advice) in UNHELD.items():
        table[function] = noted(_unheld(what, advice))
    for argument in UNHELD_ARGUMENTS:
        table[argument] = noted(_unheld("", ""))
    for name in DTYPE_NAMES:
        table["torch", name] = _named
    table["torch", "Tensor"] = table["torch.nn.parameter", "Parameter"] = _named
    table["torch", "Size"] = _size
    table["torch", "device"] = _device
    table["torch._utils", "_rebuild_tensor_v2"] = table["torch._utils", "_rebuild_tensor"] = _tensor
    table["torch._utils", "_rebuild_tensor_v3"] = _tensor_of_dtype
    table["torch._utils", "_rebuild_parameter"] = _parameter
    table["torch._utils", "_rebuild_parameter_with_state"] = noted(_parameter_with_state)
    table["torch._tensor", "_rebuild_from_type_v2"] = noted(_subclass)
    return table
