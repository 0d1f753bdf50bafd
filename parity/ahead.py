"""Reading ahead: a worker goes on computing while the comparison waits for a slower one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_PATIENCE = 0.5


class _Left(Exception):
    """Nobody wants any more of a stream, which is not its end."""


class ReadAhead(Iterator[Item], Generic[Item]):
    """What comes from a stream, read by a thread of its own.

    Where used as a context manager, nothing is read after the block but what the thread is waiting for.

    Args:
        items: the stream.
        size: returns the bytes of one.
        budget: no more is read while so many bytes wait; one may always wait, however large.

    Raises:
        Exception: whatever the stream raises, where it would have raised it.
    """

    def __init__(self, items: Iterator[Item], size: Callable[[Item], int], budget: int) -> None:
        self._items = items
        self._size = size
        self._budget = budget
        self._waiting: deque[Item] = deque()
        self._bytes = 0
        self._ended = self._left = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> ReadAhead[Item]:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        if self._thread is not threading.current_thread():
            # Not for long: it may wait for a worker that says nothing more.
            self._thread.join(_PATIENCE)

    def leave(self) -> None:
        """Want no more; do not wait for the thread."""
        with self._changed:
            self._left = True
            self._waiting.clear()
            self._changed.notify_all()

    def __next__(self) -> Item:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended or self._left)
            if self._left:
                raise _Left
            if self._waiting:
                item = self._waiting.popleft()
                self._bytes -= self._size(item)
                self._changed.notify_all()
                return item
        # Taken out, since it leads to this object again.
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def _read(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._changed.wait_for(lambda: self._left or not self._waiting or self._bytes < self._budget)
                    if self._left:
                        return
                    self._waiting.append(item)
                    self._bytes += self._size(item)
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
