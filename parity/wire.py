"""Messages between the comparing process and its workers: a JSON header, then an array's bytes if there is one."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_LENGTH = struct.Struct("<I")


class Disconnected(Exception):
    """The other end is gone."""


def send(stream: BinaryIO, header: dict[str, Any], array: Array | None = None) -> None:
    """Send one message."""
    if array is not None:
        array = np.asarray(array, order="C")
        header = {**header, "shape": list(array.shape), "dtype": str(array.dtype)}
    encoded = json.dumps(header).encode()
    stream.write(_LENGTH.pack(len(encoded)) + encoded)
    if array is not None and array.size:
        view = array.reshape(-1).view(np.uint8).data
        while view:
            view = view[stream.write(view) or 0 :]
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], Array | None]:
    """Receive one message.

    Raises:
        Disconnected: the stream ended.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    header = json.loads(bytes(_read(stream, length)))
    if "shape" not in header:
        return header, None
    array = np.empty(header["shape"], dtype=header["dtype"])
    if array.size:
        _read_into(stream, array.reshape(-1).view(np.uint8).data)
    return header, array


def _read(stream: BinaryIO, size: int) -> bytearray:
    buffer = bytearray(size)
    _read_into(stream, memoryview(buffer))
    return buffer


def _read_into(stream: BinaryIO, view: memoryview) -> None:
    while view:
        count = stream.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise Disconnected
        view = view[count:]
