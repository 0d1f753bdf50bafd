"""How the answers of several workers are heard: all at once, or one after another where together they need too much."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import BinaryIO, Protocol

import numpy as np

from detr_common.errors import InputError
from parity.ahead import ReadAhead
from parity.capture import RECENT, RECENT_BYTES
from parity.process import WorkerError
from parity.rungs import PORT, Run, foremost
from parity.trace import Array, Entry


class Answering(Protocol):
    """What is heard: a worker, or a recording in its place."""

    ahead: int
    label: str

    def entries(self) -> Iterator[Entry]:
        """Yield what it answers."""


# A tensor of a run, and its place among those of that run.
Heard = tuple[Run, Entry, int]
Progress = Callable[[str, int], None]
Note = Callable[[Run, Entry], None]


class Resting(Answering, Protocol):
    """A worker that can be told to give memory back."""

    def release(self) -> None:
        """Give back what memory the last pass left it with."""


def hear(
    workers: Mapping[Run, Resting],
    ask: Callable[[Run], None],
    progress: Progress,
    sparing: bool = False,
    first: Run | None = None,
    note: Note = lambda _run, _entry: None,
) -> Iterator[Heard]:
    """Ask workers, and yield their tensors as they are to be judged.

    Args:
        workers: those that are asked.
        ask: asks the worker of a run.
        progress: called with a run's label and the number of its tensors received.
        sparing: one after another, each with its memory given back before the next is asked.
        first: a run that the others are asked after, since they follow its choices.
        note: called with each tensor as it comes, in the order of its run.
    """
    if sparing:

        def ask_alone(run: Run) -> None:
            for worker in workers.values():
                worker.release()
            ask(run)

        yield from one_by_one(workers, ask_alone, progress, note)
        return
    others = dict(workers)
    if first is not None:
        ask(first)
        yield from [(first, entry, place) for place, entry in enumerate(others.pop(first).entries())]
    for run in others:
        ask(run)
    for run, entry, place in in_turns(others, progress):
        note(run, entry)
        yield run, entry, place


def in_turns(workers: Mapping[Run, Answering], progress: Progress) -> Iterator[Heard]:
    """Yield one tensor from each run in turn, so that none gets far ahead and little has to wait in memory."""
    streams: dict[Run, Iterator[Entry]] = {
        run: ReadAhead(w.entries(), w.ahead) if w.ahead else iter(w.entries()) for run, w in workers.items()
    }
    counts = dict.fromkeys(streams, 0)
    while streams:
        for run, stream in list(streams.items()):
            try:
                entry = next(stream, None)
            except InputError:
                # The others are heard to the end, so that none keeps an answer that belongs to this request.
                _exhaust(other for other in streams.values() if other is not stream)
                raise
            if entry is None:
                del streams[run]
                continue
            counts[run] += 1
            progress(workers[run].label, counts[run])
            yield run, entry, counts[run] - 1


def one_by_one(
    workers: Mapping[Run, Answering],
    ask: Callable[[Run], None],
    progress: Progress,
    note: Note = lambda _run, _entry: None,
) -> Iterator[Heard]:
    """Let the workers answer one after another, in their order but for the port, which comes last.

    What the others say waits on disk and is read again by the name of each tensor of the port, so that all versions of
    a tensor come together. Of what the port has not, no more than the shape is read, but for masks: nothing can be
    compared with it.

    Args:
        workers: those that answer.
        ask: asks one of them, when its turn comes.
        progress: called with a run's label and the number of its tensors received.
        note: called with each tensor as it comes, in the order of its run.

    Raises:
        InputError: a worker refuses, or there is no room on disk.
        WorkerError: a worker died.
    """
    *before, last = turns(workers)
    with ExitStack() as stack:
        spools: dict[Run, Spool] = {}
        for run in before:
            ask(run)
            spools[run] = stack.enter_context(Spool(received(run, workers[run], progress, note)))
        ask(last)
        yield from with_spooled(last, received(last, workers[last], progress, note), spools)


def turns(runs: Iterable[Run]) -> list[Run]:
    """Return the order in which runs take turns: their own, but the port's foremost run is the last."""
    there = list(runs)
    last = foremost(PORT, there) if any(run[0] == PORT for run in there) else there[-1]
    return [*(run for run in there if run != last), last]


def with_spooled(last: Run, entries: Iterable[Entry], spools: Mapping[Run, Spool]) -> Iterator[Heard]:
    """Yield the tensors of a run, each with its versions of the other runs, and then what only those have."""
    for place, entry in enumerate(entries):
        yield last, entry, place
        for run, spool in spools.items():
            if entry.name in spool:
                yield run, *spool.take(entry.name)
    for run, spool in spools.items():
        for one, place in spool.rest():
            yield run, one, place


def received(
    run: Run, worker: Answering, progress: Progress, note: Note = lambda _run, _entry: None
) -> Iterator[Entry]:
    """Yield what a worker answers, and tell of it."""
    for count, entry in enumerate(worker.entries(), 1):
        progress(worker.label, count)
        note(run, entry)
        yield entry


def _exhaust(streams: Iterable[Iterator[Entry]]) -> None:
    for stream in streams:
        with suppress(InputError, WorkerError):
            deque(stream, maxlen=0)


def written(file: BinaryIO, array: Array) -> None:
    """Append an array's bytes to a file without a buffer.

    Raises:
        OSError: they cannot be written.
    """
    array = np.asarray(array, order="C")
    view = array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
    while view:
        view = view[file.write(view) :]


class Spool:
    """Entries that wait in a file without a name until they are asked for; use as a context manager.

    Args:
        entries: all of them are read at once.

    Raises:
        InputError: the disk is full.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        try:
            self._file: BinaryIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the spool
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
        self._recent: dict[int, Array] = {}
        try:
            self._write(entries)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the room on disk back; nothing can be taken any more."""
        self._file.close()
        self._recent.clear()

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

    def _write(self, entries: Iterable[Entry]) -> None:
        recent: deque[tuple[Array, int]] = deque(maxlen=RECENT)
        for place, entry in enumerate(entries):
            number = next((known for array, known in recent if array is entry.array), None)
            if number is None:
                number = self._append(entry.array)
                recent.append((entry.array, number))
            self._arrays[place] = number
            # No more of the array than what it looks like is kept.
            like = np.lib.stride_tricks.as_strided(
                np.empty(1, entry.array.dtype), entry.array.shape, [0] * entry.array.ndim
            )
            self._waiting.setdefault(entry.name, deque()).append((replace(entry, array=like), place))

    def _append(self, array: Array) -> int:
        offset = self._file.tell()
        try:
            written(self._file, array)
        except OSError as error:
            raise InputError(
                f"{tempfile.gettempdir()}: tensors of a large batch wait there, and after {offset / 2**30:.1f} GiB "
                f"there is no room for more ({error}); set TMPDIR to a folder with more room, or compare "
                "smaller images or fewer steps"
            ) from None
        self._offsets.append(offset)
        return len(self._offsets) - 1

    def _read(self, like: Entry, number: int) -> Array:
        array = self._recent.get(number)
        if array is None:
            self._file.seek(self._offsets[number])
            array = np.fromfile(self._file, like.array.dtype, like.array.size).reshape(like.array.shape)
            self._recent[number] = array
            while len(self._recent) > 1 and (
                len(self._recent) > RECENT or sum(one.nbytes for one in self._recent.values()) > RECENT_BYTES
            ):
                del self._recent[next(iter(self._recent))]
        return array
