"""Bytes of a file for the pickle reader, every length checked against what is left before memory is taken."""

from __future__ import annotations

import io
import mmap
from typing import BinaryIO

import numpy as np

from weight_convert.errors import CheckpointError

_MAX_LINE = 512
_ALIGNMENT = 16  # of complex128, the largest number
_MAPPED_FROM = 4096


class FileSource:
    """Reads a pickle from ``file``, from where it stands up to ``end``."""

    def __init__(self, file: BinaryIO, end: int, mapped: mmap.mmap | None = None) -> None:
        """Read ``file``; long aligned runs of bytes are taken from ``mapped``, the same file mapped copy-on-write."""
        self._file = file
        self._end = end
        self._mapped = mapped
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
        start = self.tell()
        self._take(size)
        if self._mapped is not None and size >= _MAPPED_FROM and start % _ALIGNMENT == 0:
            self._file.seek(start + size)
            return memoryview(self._mapped)[start : start + size]
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
