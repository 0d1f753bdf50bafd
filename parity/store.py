"""Arrays one after another in a file, past the cache of the system where it can be: they are read once, and late.

What is written through the cache takes a page of memory for every page, which costs more than the disk does where the
machine is virtual and gets its memory by the page.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from detr_common.errors import InputError

Array = npt.NDArray[Any]

# What disks read and write at a time is a divisor of this.
_BLOCK = 4096
# Where an array may begin, so that its values are aligned for every processor.
_STEP = 64
_BUFFER = 8 * 2**20
# Buffers that may wait to be written, while the next one is filled.
_BEHIND = 3


class Stored(np.ndarray[Any, Any]):
    """Stands for an array in a file: it has the shape and the dtype, but no value of its own.

    Attributes:
        offset: of the array in the file.
    """

    offset: int


def stored(where: dict[str, Any]) -> Stored:
    """Return what stands for the array that a message tells of."""
    array: Stored = like(where["dtype"], where["shape"]).view(Stored)
    array.offset = where["at"]
    return array


def like(dtype: npt.DTypeLike, shape: Sequence[int]) -> Array:
    """Return an array that looks as said and takes no memory; its values are not to be read."""
    return np.lib.stride_tricks.as_strided(np.empty(1, dtype), tuple(shape), [0] * len(shape))


class Place(NamedTuple):
    """How another process opens a file.

    Attributes:
        name: by which it is opened.
        device: of the file, by which it is told from another one of that name.
        number: of the file on its device.
    """

    name: str
    device: int
    number: int


def place_of(file: BinaryIO) -> Place:
    """Return where a file without a name is, for systems that have a name for each open file of a process."""
    about = os.fstat(file.fileno())
    return Place(f"/proc/{os.getpid()}/fd/{file.fileno()}", about.st_dev, about.st_ino)


class Store:
    """Appends arrays to a file and reads them; use as a context manager.

    Args:
        file: where it is, or its descriptor, with which it cannot be had past the cache.

    Raises:
        OSError: it cannot be opened, or another file has that name.
    """

    def __init__(self, file: Place | int) -> None:
        self._direct = 0
        if isinstance(file, int):
            self._file = os.dup(file)
        else:
            self._file = self._open(file.name)
            about = os.fstat(self._file)
            if (about.st_dev, about.st_ino) != (file.device, file.number):
                # As where the names are those of other processes, in a container without its own.
                os.close(self._file)
                raise OSError(errno.ESTALE, f"{file.name} is another file")
        self._buffer: mmap.mmap | None = None
        self._held = 0
        self._written = 0
        self._writer: ThreadPoolExecutor | None = None
        self._failure: InputError | None = None
        self._pending: deque[Future[mmap.mmap]] = deque()

    def _open(self, name: str) -> int:
        self._direct = getattr(os, "O_DIRECT", 0)
        try:
            return os.open(name, os.O_RDWR | self._direct)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        self._direct = 0
        return os.open(name, os.O_RDWR)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what is held back is lost."""
        if self._writer is not None:
            self._writer.shutdown(cancel_futures=True)
            self._writer = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def append(self, array: Array) -> int:
        """Append an array, which is written by a thread of its own; return its offset.

        Raises:
            InputError: there is no room on disk, for this or for an earlier one.
        """
        self._check()
        array = np.asarray(array, order="C")
        offset = self._written + self._held
        view = array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
        if self._buffer is None:
            self._buffer = _new_buffer()
        while view:
            count = min(len(view), _BUFFER - self._held)
            self._buffer[self._held : self._held + count] = view[:count]
            self._held += count
            view = view[count:]
            if self._held == _BUFFER:
                self._flush()
        # A step divides the buffer, so there is room up to the next.
        self._held += -self._held % _STEP
        if self._held == _BUFFER:
            self._flush()
        return offset

    def finish(self) -> None:
        """Write what is held back; arrays can be read then.

        Raises:
            InputError: there is no room on disk, for any of them.
        """
        self._check()
        if self._held:
            self._flush()
        self._buffer = None
        while self._pending:
            self._settle()
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None

    def _flush(self) -> None:
        assert self._buffer is not None
        self._held += -self._held % _BLOCK
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1)
        self._pending.append(self._writer.submit(self._write, self._buffer, self._held, self._written))
        # It is the writer's now, whatever comes of those before it.
        self._buffer = None
        self._written += self._held
        self._held = 0
        self._buffer = self._settle() if len(self._pending) > _BEHIND else _new_buffer()

    def _settle(self) -> mmap.mmap:
        """Wait for the oldest buffer and return it."""
        try:
            return self._pending.popleft().result()
        except InputError as error:
            # Said again to whoever goes on: what comes after a hole is not to be taken for whole.
            self._failure = error
            raise

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _write(self, buffer: mmap.mmap, length: int, offset: int) -> mmap.mmap:
        """Write a buffer and return it, to be filled again."""
        done = 0
        while done < length:
            try:
                with memoryview(buffer) as view, view[done:length] as rest:
                    done += os.pwrite(self._file, rest, offset + done)
            except OSError as error:
                if not self._cached(error):
                    raise InputError(no_room(offset, error)) from None
        return buffer

    def read(self, offset: int, dtype: npt.DTypeLike, shape: Sequence[int]) -> Array:
        """Return an array of a file that was finished.

        Raises:
            OSError: it cannot be read.
        """
        dtype, shape = np.dtype(dtype), tuple(shape)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        before = offset % _BLOCK
        length = before + size + -(before + size) % _BLOCK
        room = np.empty(length + _BLOCK, np.uint8)
        begin = -room.ctypes.data % _BLOCK
        room = room[begin : begin + length]
        done = 0
        while done < length:
            try:
                count = _read_into(self._file, room.data[done:], offset - before + done)
            except OSError as error:
                if not self._cached(error):
                    raise
                continue
            if not count:
                raise OSError(errno.EIO, f"the file ends before byte {offset + size}")
            done += count
        return room[before : before + size].view(dtype).reshape(shape)

    def _cached(self, error: OSError) -> bool:
        """Go on through the cache where the file system can do nothing else; tell whether that is new."""
        if error.errno != errno.EINVAL or not self._direct:
            return False
        fcntl.fcntl(self._file, fcntl.F_SETFL, fcntl.fcntl(self._file, fcntl.F_GETFL) & ~self._direct)
        self._direct = 0
        return True


def _new_buffer() -> mmap.mmap:
    # Begins where a page does, as what is not cached must.
    return mmap.mmap(-1, _BUFFER)


def _read_into(file: int, room: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(file, [room], offset)
    read = os.pread(file, len(room), offset)
    room[: len(read)] = read
    return len(read)


def no_room(written: int, error: OSError) -> str:
    """Say that tensors of a large batch cannot wait on disk, and what to do.

    Args:
        written: bytes until then.
        error: that writing more has raised.
    """
    return (
        f"{tempfile.gettempdir()}: tensors of a large batch wait there, and after {written / 2**30:.1f} GiB there is "
        f"no room for more ({error}); set TMPDIR to a folder with more room, or compare smaller images or fewer steps"
    )
