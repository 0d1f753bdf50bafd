"""How the answers of several workers are heard: all at once, or one after another where together they need too much."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import BinaryIO, Protocol, runtime_checkable

from detr_common.errors import InputError
from detr_common.memory import give_freed_memory_back
from parity.ahead import ReadAhead
from parity.process import WorkerError
from parity.rungs import PORT, Run, foremost
from parity.spool import Spool, Waiting
from parity.trace import Entry


class Answering(Protocol):
    """What is heard: a worker, or a recording in its place."""

    ahead: int
    label: str

    def entries(self) -> Iterator[Entry]:
        """Yield what it answers."""


# No more is read while so many bytes from a worker wait for those from the disk, or of both to be compared.
_AHEAD = 2**27

# A tensor of a run, and its place among those of that run.
Heard = tuple[Run, Entry, int]
Progress = Callable[[str, int], None]
Note = Callable[[Run, Entry], None]


class Resting(Answering, Protocol):
    """A worker that can be told to give memory back, and where to put its tensors: see ``Worker``."""

    spool: BinaryIO | None

    def release(self) -> None:
        """Give back what memory the last pass left it with."""


@runtime_checkable
class Recorded(Answering, Protocol):
    """A recording: see ``parity.recording.replay.RecordedWorker``."""

    def waiting(self) -> Waiting:
        """Return what it answers, instead of ``entries``; it is on disk already."""


def hear(
    workers: Mapping[Run, Resting],
    ask: Callable[[Run], None],
    progress: Progress,
    sparing: bool = False,
    first: Run | None = None,
    note: Note | None = None,
    ahead: int | None = None,
) -> Iterator[Heard]:
    """Ask workers, and yield their tensors as they are to be judged.

    Args:
        workers: those that are asked.
        ask: asks the worker of a run.
        progress: called with a run's label and the number of its tensors received; by another thread if sparing.
        sparing: one after another, each with its memory given back before the next is asked.
        first: a run that the others are asked after, since they follow its choices.
        note: called with each tensor as it comes, in the order of its run.
        ahead: see ``in_turns``.
    """
    recorded = {run: worker for run, worker in workers.items() if isinstance(worker, Recorded)}
    if len(recorded) == len(workers) and note is None:
        for run in workers:
            ask(run)
        yield from _by_name(recorded, progress)
        return
    if sparing:

        def ask_alone(run: Run) -> None:
            release_all(workers)
            ask(run)

        yield from one_by_one(workers, ask_alone, progress, note)
        return
    others = dict(workers)
    if first is not None:
        ask(first)
        yield from [(first, entry, place) for place, entry in enumerate(others.pop(first).entries())]
    for run in others:
        ask(run)
    for run, entry, place in in_turns(others, progress, ahead):
        if note:
            note(run, entry)
        yield run, entry, place


def release_all(workers: Mapping[Run, Resting]) -> None:
    """Let all workers, and this process, give back what memory they have no use for.

    Raises:
        WorkerError: a worker died.
    """
    for worker in workers.values():
        worker.release()
    give_freed_memory_back()


def _by_name(recordings: Mapping[Run, Recorded], progress: Progress) -> Iterator[Heard]:
    """Yield the tensors in the order of the port's, whatever the order in which the others have recorded theirs."""
    *before, last = turns(recordings)
    waiting = {run: recordings[run].waiting() for run in before}
    yield from _joined(last, received(last, recordings[last], progress), waiting)


def in_turns(workers: Mapping[Run, Answering], progress: Progress, ahead: int | None = None) -> Iterator[Heard]:
    """Yield one tensor from each run in turn, so that none gets far ahead and little has to wait in memory.

    Args:
        workers: those that answer.
        progress: called with a run's label and the number of its tensors received.
        ahead: bytes of each that may wait, if not as many as it says itself.
    """
    with ExitStack() as stack:

        def read(worker: Answering) -> Iterator[Entry]:
            if not worker.ahead:
                return iter(worker.entries())
            reader = ReadAhead(worker.entries(), _bytes, worker.ahead if ahead is None else ahead)
            stack.callback(reader.leave)
            return reader

        yield from _alternating({run: read(worker) for run, worker in workers.items()}, workers, progress)


def _alternating(
    streams: dict[Run, Iterator[Entry]], workers: Mapping[Run, Answering], progress: Progress
) -> Iterator[Heard]:
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
    workers: Mapping[Run, Resting],
    ask: Callable[[Run], None],
    progress: Progress,
    note: Note | None = None,
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
            answers = received(run, workers[run], progress, note)
            # What is noted must come here with its values.
            spool = spooled(workers[run], partial(ask, run), answers, here=note is not None)
            spools[run] = stack.enter_context(spool)
        ask(last)
        yield from with_spooled(last, received(last, workers[last], progress, note), spools)


def spooled(worker: Resting, ask: Callable[[], None], answers: Iterable[Entry], here: bool = False) -> Spool:
    """Ask a worker, and let what it answers wait on disk, where it writes its tensors itself if it can.

    Args:
        worker: that is asked.
        ask: asks it.
        answers: what it answers then.
        here: whether the tensors are to come here, with their values, and be written by this process.

    Raises:
        InputError: it refuses, or there is no room on disk.
        WorkerError: it died.
    """
    spool = Spool()
    worker.spool = None if here else spool.file
    try:
        ask()
        spool.fill(answers)
    except BaseException:
        spool.close()
        raise
    finally:
        worker.spool = None
    return spool


def turns(runs: Iterable[Run]) -> list[Run]:
    """Return the order in which runs take turns: their own, but the port's foremost run is the last."""
    there = list(runs)
    last = foremost(PORT, there) if any(run[0] == PORT for run in there) else there[-1]
    return [*(run for run in there if run != last), last]


def with_spooled(last: Run, entries: Iterable[Entry], spools: Mapping[Run, Waiting]) -> Iterator[Heard]:
    """Yield the tensors of a run, each with its versions of the other runs, and then what only those have.

    They are read ahead, from the worker and from the disk at the same time, while others are compared.
    """
    with (
        ReadAhead(iter(entries), _bytes, _AHEAD) as said,
        ReadAhead(_joined(last, said, spools), lambda heard: _bytes(heard[1]), _AHEAD) as joined,
    ):
        try:
            yield from joined
        finally:
            # Before the other is waited for, which waits for it.
            said.leave()


def _bytes(entry: Entry) -> int:
    return entry.array.nbytes


def _joined(last: Run, entries: Iterable[Entry], spools: Mapping[Run, Waiting]) -> Iterator[Heard]:
    for place, entry in enumerate(entries):
        yield last, entry, place
        for run, spool in spools.items():
            if entry.name in spool:
                yield run, *spool.take(entry.name)
    for run, spool in spools.items():
        for one, place in spool.rest():
            yield run, one, place


def received(run: Run, worker: Answering, progress: Progress, note: Note | None = None) -> Iterator[Entry]:
    """Yield what a worker answers, and tell of it."""
    for count, entry in enumerate(worker.entries(), 1):
        progress(worker.label, count)
        if note:
            note(run, entry)
        yield entry


def _exhaust(streams: Iterable[Iterator[Entry]]) -> None:
    for stream in streams:
        with suppress(InputError, WorkerError):
            deque(stream, maxlen=0)
