"""Reading ahead: a worker goes on computing while the comparison waits for a slower one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from parity.trace import Entry


class ReadAhead(Iterator[Entry]):
    """Entries of a stream, read by a thread of its own.

    Args:
        entries: the stream.
        budget: bytes that may wait; one tensor may always wait, however large.

    Raises:
        Exception: whatever the stream raises, where it would have raised it.
    """

    def __init__(self, entries: Iterator[Entry], budget: int = 512 * 2**20) -> None:
        self._entries = entries
        self._budget = budget
        self._waiting: deque[Entry] = deque()
        self._bytes = 0
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def __next__(self) -> Entry:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                entry = self._waiting.popleft()
                self._bytes -= entry.array.nbytes
                self._changed.notify_all()
                return entry
        if self._error is not None:
            raise self._error
        raise StopIteration

    def _read(self) -> None:
        try:
            for entry in self._entries:
                with self._changed:
                    self._changed.wait_for(lambda: not self._waiting or self._bytes < self._budget)
                    self._waiting.append(entry)
                    self._bytes += entry.array.nbytes
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
