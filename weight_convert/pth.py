"""A reader of ``.pth`` files that needs no PyTorch and runs no code from the file."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from weight_convert import admitted, unpickle
from weight_convert.admitted import check_shape
from weight_convert.archive import Member
from weight_convert.errors import CheckpointError
from weight_convert.source import FileSource
from weight_convert.torch_dtypes import DTYPES, STORAGES
from weight_convert.tree import Array, rebuild
from weight_convert.unpickle import Builder, Global

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# A tensor may repeat its storage (stride 0); beyond this many bytes that is an attack or a mistake.
MAX_REPEATED = 1 << 28


@dataclass
class _Storage:
    key: str
    dtype: np.dtype[Any] | None  # None: bytes, whose dtype the tensor gives
    size: int  # in elements of dtype, or bytes
    start: int = 0  # bytes into the root storage (legacy views)


@dataclass
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    flip: bool = False  # a conjugate or negative view, to be resolved
    negate: bool = False


@dataclass
class Parsed:
    """A file whose pickles have been read and found harmless; its tensors have not."""

    tree: Any
    storage_bytes: Callable[[_Storage], memoryview]
    big_endian: bool

    def arrays(self) -> Any:
        """The tree with its arrays: views of the file, or copies where a dtype cannot be used as it lies there.

        Raises:
            CheckpointError: damaged, or it holds what reading does not admit.
        """

        def leaf(value: Any, place: str) -> Any:
            if isinstance(value, _Tensor):
                return _as_array(value, self.storage_bytes(value.storage), self.big_endian)
            if isinstance(value, Global) and value.module == "torch" and value.name in DTYPES:
                return str(value)
            return admitted.leaf(value, place)

        try:
            return rebuild(self.tree, leaf)
        except CheckpointError:
            raise
        except unpickle.FAULTS as fault:
            raise CheckpointError(f"is damaged ({fault})") from fault


def parse_zip(members: Mapping[str, Member], data: mmap.mmap) -> Parsed:
    """Read the pickle of the format of PyTorch 1.6 and later.

    Args:
        members: what `archive.members` found in the file.
        data: the whole file, mapped copy-on-write.

    Raises:
        CheckpointError: not such a file, damaged, or it holds what reading does not admit.
    """
    roots = [name[: -len("data.pkl")] for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1:  # of two, another reader might take the other
        raise CheckpointError(f"is a zip archive with {len(roots) or 'no'} data.pkl, so not a PyTorch checkpoint")
    root = roots[0]
    if f"{root}constants.pkl" in members:
        raise CheckpointError("is a TorchScript program; save its state_dict() with torch.save instead")
    order = b"little"
    if f"{root}byteorder" in members:
        order = members[f"{root}byteorder"].of(data)
    if order not in (b"little", b"big"):
        raise CheckpointError(f"has an unknown byte order {order[:20]!r}")
    tree = unpickle.load(FileSource.of_bytes(members[f"{root}data.pkl"].of(data)), _table(), _persistent)
    view = memoryview(data)

    def storage_bytes(storage: _Storage) -> memoryview:
        where = members.get(f"{root}data/{storage.key}")
        if where is None:
            raise CheckpointError(f"lacks the storage {storage.key}; it is damaged")
        return view[where.start : where.start + where.size]

    return Parsed(tree, storage_bytes, order == b"big")


def parse_legacy(file: BinaryIO, data: mmap.mmap) -> Parsed:
    """Read the five pickles of the format of PyTorch before 1.6; the storages follow them.

    Args:
        file: the file, at its start.
        data: the whole file, mapped copy-on-write.

    Raises:
        CheckpointError: damaged, or it holds what reading does not admit.
    """
    source = FileSource(file, len(data))
    if unpickle.load(source, {}) != LEGACY_MAGIC or unpickle.load(source, {}) != _LEGACY_PROTOCOL:
        raise CheckpointError("is not a PyTorch checkpoint (its magic number)")
    system = unpickle.load(source, {})
    little = system.get("little_endian", True) if isinstance(system, dict) else True
    storages: dict[str, _Storage] = {}
    tree = unpickle.load(source, _table(), lambda pid: _persistent_legacy(pid, storages))
    keys = unpickle.load(source, {})
    if not isinstance(keys, list):
        raise CheckpointError("is damaged (its list of storages)")
    view = memoryview(data)
    where: dict[str, memoryview] = {}
    at = source.tell()
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or storage.dtype is None or at + 8 > len(data):
            raise CheckpointError("is damaged or cut off (its list of storages)")
        count = int.from_bytes(view[at : at + 8], "little" if little else "big")
        end = at + 8 + count * storage.dtype.itemsize
        if end > len(data):
            raise CheckpointError("is cut off; fetch or save it again")
        where[key] = view[at + 8 : end]
        at = end

    def storage_bytes(storage: _Storage) -> memoryview:
        if storage.key not in where:
            raise CheckpointError(f"lacks the storage {storage.key}; it is damaged")
        return where[storage.key][storage.start :]

    return Parsed(tree, storage_bytes, not little)


def _as_array(tensor: _Tensor, data: memoryview, big_endian: bool) -> Array:
    item = tensor.dtype.itemsize
    count = math.prod(tensor.shape)
    if count:
        last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
        if (tensor.offset + last + 1) * item > data.nbytes:
            raise CheckpointError("has a tensor that reaches beyond its storage; it is damaged")
        if count * item > max(data.nbytes, MAX_REPEATED):
            raise CheckpointError(f"has a tensor of shape {list(tensor.shape)} far larger than its storage")
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


def _persistent(pid: Any) -> _Storage:
    if type(pid) is not tuple or len(pid) != 5 or pid[0] != "storage":
        raise CheckpointError("is damaged (a storage)")
    _, kind, key, _, size = pid
    if not isinstance(kind, Global) or kind.build is not _storage_type or type(key) is not str:
        raise CheckpointError("is damaged (a storage)")
    if type(size) is not int or size < 0:
        raise CheckpointError("is damaged (a storage's size)")
    return _Storage(key, STORAGES.get(kind.name), size)


def _persistent_legacy(pid: Any, storages: dict[str, _Storage]) -> _Storage:
    if type(pid) is not tuple or len(pid) != 6:
        raise CheckpointError("is damaged (a storage)")
    storage = _persistent(pid[:5])
    if storage.dtype is None:
        raise CheckpointError("is damaged (a storage without dtype)")
    storages.setdefault(storage.key, storage)
    if pid[5] is None:
        return storage
    _, start, size = pid[5]
    if type(start) is not int or type(size) is not int or start < 0 or size < 0:
        raise CheckpointError("is damaged (a storage's view)")
    return _Storage(storage.key, storage.dtype, size, start * storage.dtype.itemsize)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    check_shape(shape)
    check_shape(strides)
    if not isinstance(storage, _Storage) or type(offset) is not int or offset < 0 or len(shape) != len(strides):
        raise CheckpointError("is damaged (a tensor)")
    if storage.dtype is None:
        raise CheckpointError("has a tensor without a dtype")
    marks = rest[2] if len(rest) > 2 and isinstance(rest[2], dict) else {}
    return _Tensor(storage, offset, shape, strides, storage.dtype, bool(marks.get("conj")), bool(marks.get("neg")))


def _tensor_of_dtype(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    """A tensor whose storage is bytes: PyTorch's form for the dtypes without a storage class."""
    if not isinstance(storage, _Storage) or len(rest) < 3 or not isinstance(rest[2], Global):
        raise CheckpointError("is damaged (a tensor)")
    dtype = DTYPES.get(rest[2].name)
    if dtype is None:
        raise CheckpointError(f"has a tensor of dtype {rest[2]}, which NumPy cannot hold; convert it to float32 first")
    typed = _Storage(storage.key, dtype, storage.size, storage.start)
    return _tensor(typed, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _subclass(build: Any, kind: Any, arguments: Any, _state: Any) -> Any:
    if not isinstance(build, Global) or not isinstance(kind, Global) or type(arguments) is not tuple:
        raise CheckpointError("is damaged (a tensor)")
    return build.build(*arguments)


def _size(*sizes: Any) -> tuple[int, ...]:
    value = tuple(sizes[0]) if sizes else ()
    check_shape(value)
    return value


def _device(kind: Any, index: Any = None) -> str:
    if type(kind) is not str:
        raise CheckpointError("is damaged (a device)")
    return kind if index is None else f"{kind}:{index}"


def _named(*_: Any) -> Any:
    raise CheckpointError("is damaged (a type is called that is only named)")


def _storage_type(*_: Any) -> Any:
    raise CheckpointError("is damaged (a storage type is called)")


def _table() -> dict[tuple[str, str], Builder]:
    table = dict(admitted.TABLE)
    for name in (*STORAGES, "UntypedStorage"):
        table["torch", name] = _storage_type
        table["torch.storage", name] = _storage_type
    for name in DTYPES:
        table["torch", name] = _named
    table["torch", "Tensor"] = table["torch.nn.parameter", "Parameter"] = _named
    table["torch", "Size"] = _size
    table["torch", "device"] = _device
    table["torch._utils", "_rebuild_tensor_v2"] = table["torch._utils", "_rebuild_tensor"] = _tensor
    table["torch._utils", "_rebuild_tensor_v3"] = _tensor_of_dtype
    table["torch._utils", "_rebuild_parameter"] = table["torch._utils", "_rebuild_parameter_with_state"] = _parameter
    table["torch._tensor", "_rebuild_from_type_v2"] = _subclass
    return table
