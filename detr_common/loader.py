"""Batches in an order that seed and epoch alone decide, read ahead by worker processes that change nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from PIL import Image

from detr_common.dataset import Photographs
from detr_common.errors import InputError
from detr_common.images import FloatArray
from detr_common.transforms import Target, normalise

Item = tuple[FloatArray, Target]
Batch = tuple[list[FloatArray], list[Target]]

# Batches that are read ahead for each worker.
AHEAD = 2

_dataset: Photographs | None = None


class Loader:
    """Batches of a data set, epoch by epoch.

    Use as a context manager, which ends the worker processes.

    Args:
        dataset: the photographs.
        batch_size: of each process that trains.
        workers: processes that read; 0 to read in this one.
        shuffle: whether the order is drawn anew for each epoch; a last batch that is not full is then left out, as
            upstream does.
        seed: of the order.
        rank: which of the processes that train together this is.
        world_size: how many they are. Shuffled, their batches of one number together are the photographs that a single
            process with a batch as many times as large would have; else each takes every so many-th batch of those
            that a single process would have, so that what is measured does not depend on their number.

    Raises:
        InputError: there are fewer photographs to train on than a batch holds.
    """

    def __init__(
        self,
        dataset: Photographs,
        batch_size: int,
        workers: int = 0,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if shuffle and len(dataset) < batch_size * world_size:
            raise InputError(
                f"{len(dataset)} photographs to train on are fewer than one batch of {batch_size * world_size}; give a "
                "smaller --batch_size"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._workers = workers
        self._pool = _started(workers, dataset) if workers else None

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def indices(self, epoch: int) -> list[list[int]]:
        """Return the indices of each batch of an epoch."""
        count, size = len(self.dataset), self.batch_size
        if not self.shuffle:
            batches = [list(range(start, min(start + size, count))) for start in range(0, count, size)]
            return batches[self.rank :: self.world_size]
        order = [int(index) for index in np.random.default_rng((self.seed, epoch)).permutation(count)]
        together = size * self.world_size
        starts = range(0, count - count % together, together)
        return [order[start : start + together][self.rank :: self.world_size] for start in starts]

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from the one that is number ``first`` of it.

        Raises:
            InputError: a photograph cannot be read any more.
        """
        self.dataset.set_epoch(number)
        if self._pool is None:
            for batch in self.indices(number)[first:]:
                yield _collated([self.dataset[i] for i in batch])
            return
        waiting: deque[Future[list[tuple[Image.Image, Target]]]] = deque()
        for batch in self.indices(number)[first:]:
            waiting.append(self._pool.submit(_read, number, batch))
            if len(waiting) > AHEAD * self._workers:
                yield _normalised(waiting.popleft())
        while waiting:
            yield _normalised(waiting.popleft())


def _started(workers: int, dataset: Photographs) -> ProcessPoolExecutor:
    """Start processes that know a data set; not forked, since neither framework survives that once it has run."""
    # Its locks start a process as well, after which Python lets SIGINT through.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (dataset,))
    # A process that is spawned runs the main module of this one again, which would import a framework there.
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        with _uninterrupted():
            # One for each, since a process is started when something is wanted and none has nothing to do.
            begun = [pool.submit(_read, 0, ()) for _ in range(workers)]
        for one in begun:
            one.result()
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    finally:
        sys.modules["__main__"] = main
    return pool


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold SIGINT back, for good from processes and threads that start meanwhile: Ctrl-C is for this process to answer.

    Readers end when they are told to. Each would print where it was, and Jittor takes a child that a signal has ended
    for want of memory.
    """
    hold = getattr(signal, "pthread_sigmask", None)  # not on Windows
    before = hold(signal.SIG_BLOCK, {signal.SIGINT}) if hold else set()
    try:
        yield
    finally:
        if hold:
            hold(signal.SIG_SETMASK, before)


def _begin(dataset: Photographs) -> None:
    """Let a worker process know its data set."""
    global _dataset
    _dataset = dataset
    # Nobody tells it to end where this process's own is killed.
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _read(epoch: int, indices: Sequence[int]) -> list[tuple[Image.Image, Target]]:
    assert _dataset is not None
    _dataset.set_epoch(epoch)
    # Bytes, which are a quarter of what the normalised image would be to pass on.
    return [_dataset.augmented(index) for index in indices]


def _normalised(read: Future[list[tuple[Image.Image, Target]]]) -> Batch:
    return _collated([normalise(*item) for item in read.result()])


def _collated(items: Sequence[Item]) -> Batch:
    return [image for image, _ in items], [target for _, target in items]
