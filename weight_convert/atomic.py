"""A file that appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from weight_convert.errors import CheckpointError


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


def _mode(path: Path) -> int:
    """The permissions of the file replaced, or what the umask leaves of a new one."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
