"""Reading ahead: a worker goes on computing while the comparison waits for a slower one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_PATIENCE = 5.0


class ReadAhead(Iterator[Item], Generic[Item]):
    """What comes from a stream, read by a thread of its own; where used as a context manager, that ends with the block.

    Args:
        items: the stream.
        size: returns the bytes of one.
        budget: bytes that may wait; one may always wait, however large.

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
        with self._changed:
            self._left = True
            self._changed.notify_all()
        # Not for ever: it may wait for a worker that says nothing more.
        self._thread.join(_PATIENCE)

    def __next__(self) -> Item:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                item = self._waiting.popleft()
                self._bytes -= self._size(item)
                self._changed.notify_all()
                return item
        if self._error is not None:
            raise self._error
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
