"""Files that a command writes once all is computed: refused before, and written at once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from detr_common.errors import InputError


def check_destination(option: str, path: Path) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises:
        InputError: names option and path.
    """
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{option} {path}: you may not write to {path.parent}; name another folder")


def replace_file(path: Path, content: bytes) -> None:
    """Write a file at once: a reader sees the old one or the whole new one.

    Raises:
        InputError: it cannot be written.
    """
    part = ""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            part = file.name
            file.write(content)
        # A temporary file is its owner's alone, while a result is as readable as any new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        if part and os.path.exists(part):
            os.unlink(part)
