"""Tensors that wait on disk until they are compared, for batches of which all runs would need too much memory."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO, Protocol
from weakref import WeakValueDictionary

from detr_common.errors import InputError
from parity.capture import RECENT
from parity.store import Store, Stored, like, place_of
from parity.trace import Array, Entry


class Waiting(Protocol):
    """Entries that wait until they are asked for: on disk, so that only those that have been taken are in memory."""

    def __contains__(self, name: str) -> bool: ...

    def take(self, name: str) -> tuple[Entry, int]:
        """Return an entry, with its array, and its place among all; it then waits no longer."""

    def rest(self) -> Iterator[tuple[Entry, int]]:
        """Take all that still wait, in the order in which they came; but for masks, with arrays that only look so."""


class Spool:
    """Entries that wait in a file without a name until they are asked for; use as a context manager.

    Args:
        entries: see ``fill``; None if they come later.

    Raises:
        InputError: there is no room on disk.

    Attributes:
        file: where their arrays are, to which a worker may write until all have come.
    """

    def __init__(self, entries: Iterable[Entry] | None = None) -> None:
        try:
            self.file: BinaryIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the spool
            self._store = _store_of(self.file)
        except OSError as error:
            raise InputError(
                f"{tempfile.gettempdir()}: tensors of a large batch wait there, each run and step in a file, and no "
                f"more can be made ({error}); compare fewer steps (--free), or allow more open files (ulimit -n)"
            ) from None
        # By name, in the order of coming: a name may come twice, which is for the judge to say.
        self._waiting: dict[str, deque[tuple[Entry, int]]] = {}
        # Of each place the number of its array, which may be that of an earlier one; and where each array begins.
        self._arrays: dict[int, int] = {}
        self._offsets: list[int] = []
        # Those that somebody still has.
        self._recent: WeakValueDictionary[int, Array] = WeakValueDictionary()
        try:
            if entries is not None:
                self.fill(entries)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the room on disk back; nothing can be taken any more."""
        self._store.close()
        self.file.close()

    def __contains__(self, name: str) -> bool:
        return bool(self._waiting.get(name))

    def take(self, name: str) -> tuple[Entry, int]:
        """Return an entry, with its array, and its place; it then waits no longer.

        What only repeats an entry has the same array as that, if it was taken shortly before.

        Raises:
            KeyError: none of this name waits.
        """
        entry, place = self._waiting[name].popleft()
        return replace(entry, array=self._read(entry, self._arrays[place])), place

    def read_all(self) -> dict[str, Array]:
        """Return the arrays of all that still wait, by name; they go on waiting."""
        waiting = [(entry, place) for ones in self._waiting.values() for entry, place in ones]
        return {entry.name: self._read(entry, self._arrays[place]) for entry, place in waiting}

    def rest(self) -> Iterator[tuple[Entry, int]]:
        """Take all that still wait, in the order in which they came; but for masks, with arrays that only look so."""
        waiting = sorted((place, entry.name) for ones in self._waiting.values() for entry, place in ones)
        for _, name in waiting:
            masks = self._waiting[name][0][0].array.dtype.kind == "b"
            yield self.take(name) if masks else self._waiting[name].popleft()

    def fill(self, entries: Iterable[Entry]) -> None:
        """Take all entries, once; their arrays are written to the file, but for those that are there.

        Raises:
            InputError: there is no room on disk.
        """
        recent: deque[tuple[Array, int]] = deque(maxlen=RECENT)
        for place, entry in enumerate(entries):
            number = next((known for array, known in recent if array is entry.array), None)
            if number is None:
                number = self._append(entry.array)
                recent.append((entry.array, number))
            self._arrays[place] = number
            # No more of the array than what it looks like is kept.
            looks = replace(entry, array=like(entry.array.dtype, entry.array.shape))
            self._waiting.setdefault(entry.name, deque()).append((looks, place))
        self._store.finish()
        # The store has it open too, and of many spools each would take one more of what the system allows.
        self.file.close()

    def _append(self, array: Array) -> int:
        self._offsets.append(array.offset if isinstance(array, Stored) else self._store.append(array))
        return len(self._offsets) - 1

    def _read(self, looks: Entry, number: int) -> Array:
        array = self._recent.get(number)
        if array is None:
            try:
                array = self._store.read(self._offsets[number], looks.array.dtype, looks.array.shape)
            except OSError as error:
                raise InputError(
                    f"{tempfile.gettempdir()}: {looks.name} waits there and cannot be read ({error}); set TMPDIR to "
                    "another folder"
                ) from None
            self._recent[number] = array
        return array


def _store_of(file: BinaryIO) -> Store:
    with suppress(OSError):
        return Store(place_of(file))
    try:
        return Store(file.fileno())
    except OSError:
        file.close()
        raise
