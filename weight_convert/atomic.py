"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from weight_convert.errors import CheckpointError

_SYNC_SECONDS = 0.03


def replace(path: Path, fill: Callable[[BinaryIO], None], confirm: Callable[[], None] = lambda: None) -> None:
    """Let ``fill`` write a file beside ``path``, then put it there; on failure nothing is left behind.

    Args:
        path: the file.
        fill: writes it.
        confirm: called when all is written and before ``path`` is touched; it may still raise.
    """
    if path.is_dir():
        raise CheckpointError("is a directory; name a file")
    if not path.parent.is_dir():
        raise CheckpointError(f"the folder {path.parent} does not exist; make it first")
    path = path.resolve()  # a link stays one; what it points to is replaced
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        with part.open("r+b") as file:
            with _synced_meanwhile(file):
                fill(file)
            file.flush()
            os.fsync(file.fileno())
        confirm()
        part.chmod(_mode(path))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _synced_meanwhile(file: BinaryIO) -> Iterator[None]:
    """Hand what is written to the disk while the rest is still being made, so that the last sync finds little left."""
    ended = threading.Event()

    def sync() -> None:
        while not ended.wait(_SYNC_SECONDS):
            os.fdatasync(file.fileno())

    with ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(sync)
        try:
            yield
        finally:
            ended.set()
    syncing.result()  # the system reports a fault of the disk once, so the last sync would not


def _mode(path: Path) -> int:
    """The permissions of the file replaced, or what the umask leaves of a new one."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
