"""Bytes of a file for the pickle reader, every length checked against what is left before memory is taken."""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np

from weight_convert.errors import CheckpointError

_MAX_LINE = 512


class FileSource:
    """Reads a pickle from ``file``, from where it stands up to ``end``."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self._file = file
        self._end = end
        self._left = end - file.tell()

    @classmethod
    def of_bytes(cls, data: bytes) -> FileSource:
        """Read from memory."""
        return cls(io.BytesIO(data), len(data))

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._end - self._left

    def _take(self, size: int) -> None:
        if size < 0 or size > self._left:
            raise CheckpointError(f"is cut off: {size} bytes expected where {self._left} are left")
        self._left -= size

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        self._take(size)
        return self._file.read(size)

    def bulk(self, size: int) -> memoryview:
        """Exactly ``size`` bytes, writable and aligned for any dtype."""
        self._take(size)
        buffer = np.empty(size, np.uint8)
        view = memoryview(buffer)  # type: ignore[arg-type]
        got = self._file.readinto(view) if size else 0  # type: ignore[attr-defined]
        if got != size:
            raise CheckpointError("is cut off")
        return view

    def line(self) -> bytes:
        """Bytes up to a newline, which is taken but not returned."""
        line = self._file.readline(_MAX_LINE)
        self._take(len(line))
        if not line.endswith(b"\n"):
            raise CheckpointError("damaged pickle (an endless name)")
        return line[:-1]
