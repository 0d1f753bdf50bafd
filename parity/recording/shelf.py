"""A recorded pass whose tensors wait where they are until they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from parity.recording.layout import Recording, opened
from parity.store import like
from parity.trace import Entry, TraceReader


class Shelf:
    """The tensors of one pass by name; see ``parity.spool.Waiting``.

    Args:
        folder: of the recording.
        recording: what it holds.
        name: of the pass.

    Raises:
        InputError: the pass was not recorded, or its trace is damaged or of another recording.
    """

    def __init__(self, folder: Path, recording: Recording, name: str) -> None:
        opened(folder, recording, name)
        self._reader = TraceReader(folder / name)
        self._waiting = {name: place for place, name in enumerate(self._reader.names)}

    def __contains__(self, name: str) -> bool:
        return name in self._waiting

    def take(self, name: str) -> tuple[Entry, int]:
        """Return an entry and its place; it then waits no longer.

        Raises:
            InputError: it is not what was recorded.
            KeyError: none of this name waits.
        """
        place = self._waiting.pop(name)
        return self._reader.read(place), place

    def rest(self) -> Iterator[tuple[Entry, int]]:
        """Take all that still wait, in their order; but for masks, with arrays that only look so.

        Raises:
            InputError: one of them is not what was recorded.
        """
        for name in list(self._waiting):
            entry, place = self.take(name)
            masks = entry.array.dtype.kind == "b"
            yield entry if masks else replace(entry, array=like(entry.array.dtype, entry.array.shape)), place
