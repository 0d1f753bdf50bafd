"""Reading files that may come from anybody: no content, and nothing put in a file's place, can do harm.

Nothing is mapped: a file that another program cuts off meanwhile would end this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Of JSON, which takes up to a hundred times its size when it is parsed.
MAX_VALUES = 1_000_000
_MAX_DIGITS = 40
_CHUNK = 1 << 20


class Unreadable(Exception):
    """What is wrong with a file, as a phrase.

    Args:
        reason: the phrase.
        key: the tensor that it is about, if it is about one.
    """

    def __init__(self, reason: str, key: str = "") -> None:
        super().__init__(reason)
        self.key = key


def shown(value: object) -> str:
    """A value from a file, for a message: short, and without characters that a terminal would act on."""
    text = ascii(value[:61] if isinstance(value, str) else value if isinstance(value, (int, float)) else type(value))
    return text if len(text) <= 60 else f"{text[:60]}..."


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file for reading, if it is one; a link is not followed and a pipe not waited for.

    Raises:
        FileNotFoundError: there is none.
        Unreadable: it is no plain file, or cannot be opened.
    """
    no_file = Unreadable("not a plain file but a link, a folder, a pipe or a device")
    try:
        # Before it is opened, since opening alone makes some devices do something.
        if not stat.S_ISREG(path.lstat().st_mode):
            raise no_file
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable((error.strerror or "it cannot be opened").lower()) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise no_file
        yield descriptor
    finally:
        os.close(descriptor)


def read_json(descriptor: int, start: int, size: int) -> Any:
    """Parse a part of a file.

    Raises:
        Unreadable: it is not there or no JSON, or would take much memory.
    """
    raw = bytearray(size)
    read_into(descriptor, start, memoryview(raw), lambda _: None)
    check_weight(raw)
    try:
        return json.loads(raw.decode(), object_pairs_hook=_unique, parse_int=_integer, parse_float=_float)
    except RecursionError:
        raise Unreadable("nested too deep") from None
    except ValueError as error:
        raise Unreadable(str(error)) from None


def check_weight(raw: bytes | bytearray) -> None:
    """Refuse JSON that would take much memory.

    Raises:
        Unreadable: it would.
    """
    if sum(raw.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise Unreadable(f"more than {MAX_VALUES:,} values")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that is there twice")
    return found


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number of too many digits")
    return int(text)


def _float(text: str) -> float:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number of too many digits")
    return float(text)


def read_into(descriptor: int, start: int, view: memoryview, take: Callable[[memoryview], object]) -> None:
    """Fill a buffer from a file.

    Args:
        descriptor: the file.
        start: where in it the bytes begin.
        view: the buffer.
        take: is handed the bytes piece by piece, as they come.

    Raises:
        Unreadable: the file ends before, or cannot be read.
    """
    at = 0
    while at < len(view):
        try:
            got = os.preadv(descriptor, [view[at : at + _CHUNK]], start + at)
        except OSError as error:
            raise Unreadable((error.strerror or "it cannot be read").lower()) from None
        if not got:
            raise Unreadable("it is cut off")
        take(view[at : at + got])
        at += got
