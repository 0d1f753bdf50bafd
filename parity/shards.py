"""The shards of a trace: safetensors files, written and read tensor by tensor, so that no more is in memory.

What a shard holds has to be exactly what the manifest names, and is read only then.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.foreign import Unreadable, read_into, read_json, shown
from weight_convert.tensorfile import DTYPES

Array = npt.NDArray[Any]

# Room for the header of a shard that is being written: of some 600 tensors.
HEADER_BYTES = 1 << 16
MAX_HEADER = 8 << 20
# More than any model has, and little enough to be allocated for a file that only claims to have it.
MAX_TENSOR = 4 << 30
MAX_DIMENSIONS = 32
_CODES = {dtype.name: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Form:
    """Dtype and shape of a tensor.

    Attributes:
        dtype: NumPy's name of it, one that safetensors knows.
        shape: the sizes.
    """

    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what no tensor can be.

        Raises:
            Unreadable: an unknown dtype, a shape that is not one, or a tensor that is too large.
        """
        if type(self.dtype) is not str or self.dtype not in _CODES:
            raise Unreadable(f"its dtype {shown(self.dtype)} is not one that a trace can hold")
        if len(self.shape) > MAX_DIMENSIONS or not all(type(size) is int and size >= 0 for size in self.shape):
            raise Unreadable("its shape is not one")
        # Sizes of zero aside: NumPy multiplies the others all the same.
        if math.prod(size or 1 for size in self.shape) * DTYPES[_CODES[self.dtype]].itemsize > MAX_TENSOR:
            raise Unreadable(f"it is larger than {MAX_TENSOR >> 30} GiB")

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return math.prod(self.shape) * DTYPES[_CODES[self.dtype]].itemsize

    @property
    def code(self) -> str:
        """What safetensors calls the dtype."""
        return _CODES[self.dtype]


def places(descriptor: int, forms: Mapping[str, Form]) -> dict[str, int]:
    """Where in a shard each of its tensors begins.

    Args:
        descriptor: the file.
        forms: what it shall hold, no more and no less, by key.

    Raises:
        Unreadable: it is not such a shard.
    """
    size = os.fstat(descriptor).st_size
    length = bytearray(8)
    read_into(descriptor, 0, memoryview(length), lambda _: None)
    start = 8 + int.from_bytes(length, "little")
    if start > size or start > 8 + MAX_HEADER:
        raise Unreadable("the header is damaged or cut off")
    header = read_json(descriptor, 8, start - 8)
    if type(header) is not dict:
        raise Unreadable("the header is damaged")
    lacking = next((key for key in forms if key not in header), None)
    if lacking is not None:
        raise Unreadable("the tensor is not there", lacking)
    if len(header) > len(forms):
        extra = next(key for key in header if key not in forms)
        raise Unreadable(f"it holds {shown(extra)}, which no entry of the manifest names")
    spans = {key: _span(header[key], form, key) for key, form in forms.items()}
    found, at = {}, 0
    for key in sorted(spans, key=spans.__getitem__):
        begin, end = spans[key]
        if begin != at or end - begin != forms[key].nbytes:
            raise Unreadable("the header gives it a wrong place", key)
        found[key], at = start + begin, end
    if start + at != size:
        raise Unreadable("it is cut off" if start + at > size else "something follows its last tensor")
    return found


def _span(entry: object, form: Form, key: str) -> tuple[int, int]:
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Unreadable("the header is damaged", key)
    if entry["dtype"] != form.code or entry["shape"] != list(form.shape):
        raise Unreadable("the manifest gives another dtype or shape than the shard", key)
    match entry["data_offsets"]:
        case [int(begin), int(end)]:
            return begin, end
    raise Unreadable("the header gives it a wrong place", key)


def read_tensor(descriptor: int, start: int, form: Form, take: Callable[[memoryview], object]) -> Array:
    """Read one tensor.

    Args:
        descriptor: the shard.
        start: where the tensor begins (``places``).
        form: what it is.
        take: is handed the bytes piece by piece, as they come: to sum them up.

    Raises:
        Unreadable: the file is cut off by now, or there is no memory for the tensor.
    """
    try:
        array: Array = np.empty(form.shape, DTYPES[form.code])
    except MemoryError:
        raise Unreadable(f"there is no memory for its {form.nbytes:,} bytes") from None
    read_into(descriptor, start, bytes_of(array), take)
    return array


def bytes_of(array: Array) -> memoryview:
    """The bytes of an array that lies in order, without copying them."""
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


class ShardWriter:
    """Writes one shard; its tensors go to the file as they come.

    The file is not kept open, since nobody closes it where a recording is broken off.

    Args:
        path: the file, which must be new.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nbytes = 0
        self._header = ""
        with self._file(os.O_CREAT | os.O_EXCL):
            pass

    def has_room(self, key: str, form: Form) -> bool:
        """Whether the header can take another tensor."""
        return 8 + len(self._header) + len(self._line(key, form)) + 1 <= HEADER_BYTES

    def add(self, key: str, form: Form, array: Array) -> None:
        """Write a tensor, whose array lies in order.

        Raises:
            OSError: it cannot be written.
        """
        self._header += self._line(key, form)
        with self._file() as descriptor:
            _write(descriptor, HEADER_BYTES + self.nbytes, bytes_of(array))
        self.nbytes += form.nbytes

    def close(self) -> None:
        """Write the header, and see to it that all is on the disk.

        Raises:
            OSError: it cannot be written.
        """
        text = (self._header + "}").encode().ljust(HEADER_BYTES - 8)
        with self._file() as descriptor:
            _write(descriptor, 0, memoryview(len(text).to_bytes(8, "little") + text))
            os.fsync(descriptor)

    @contextlib.contextmanager
    def _file(self, more: int = 0) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | more, 0o666)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _line(self, key: str, form: Form) -> str:
        span = [self.nbytes, self.nbytes + form.nbytes]
        entry = {"dtype": form.code, "shape": list(form.shape), "data_offsets": span}
        return ("," if self._header else "{") + f"{json.dumps(key)}:{json.dumps(entry)}"


def _write(descriptor: int, start: int, view: memoryview) -> None:
    while view:
        count = os.pwrite(descriptor, view, start)
        start += count
        view = view[count:]
