"""Training of many runs where only one fits into memory: each takes all its steps before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from detr_common.errors import InputError
from parity.client import Worker
from parity.process import WorkerError
from parity.rungs import TRUTH, Run
from parity.spool import Spool
from parity.trace import Array, Entry
from parity.turns import Heard, Progress, received, release_all, spooled, turns, with_spooled

# Asks the worker of a run for a step, with the choices that the float64 run of the reference has made in it.
AskStep = Callable[[Run, int, Mapping[str, Array]], None]


def prepare(workers: Mapping[Run, Worker]) -> None:
    """Let every worker begin to train.

    Raises:
        InputError: a worker refuses.
        WorkerError: a worker died.
    """
    _have_all(workers, "prepare")


def finish(workers: Mapping[Run, Worker], release: bool = False) -> None:
    """Let every worker forget its optimizer, which takes twice the memory of a model or more.

    Args:
        workers: prepared.
        release: whether they are to give the memory back to the system.

    Raises:
        WorkerError: a worker died.
    """
    _have_all(workers, "finish")
    if release:
        release_all(workers)


def _have_all(workers: Mapping[Run, Worker], do: str) -> None:
    for worker in workers.values():
        worker.ask(do, {})
    failures: list[InputError | WorkerError] = []
    for worker in workers.values():
        try:
            worker.answer()
        except (InputError, WorkerError) as error:
            failures.append(error)
    # All are heard before one is told of, so that none keeps an answer that belongs to this request.
    if failures:
        raise failures[0]


class RunByRun:
    """Steps of training, of which those of all runs but the port's foremost wait on disk; use as a context manager.

    The optimizers of six runs take more memory than a step of any one of them, so a run forgets its own at its end.

    Args:
        workers: prepared.
        count: steps of each.
        ask: asks for one.
        progress: called with a run's label and the number of its tensors received.

    Raises:
        InputError: a worker refuses, or there is no room on disk.
        WorkerError: a worker died.
    """

    def __init__(self, workers: Mapping[Run, Worker], count: int, ask: AskStep, progress: Progress) -> None:
        self._workers = workers
        self._ask = ask
        self._progress = progress
        # For which step the last run was asked last.
        self._asked = -1
        # By the number of the step: what each run said, and what the others are to choose.
        self._spools: list[dict[Run, Spool]] = [{} for _ in range(count)]
        self._choices: list[Spool] = []
        # Of a run whose model raised: in which step, and what it said.
        self._failures: dict[Run, tuple[int, str]] = {}
        *before, self._last = turns(workers)
        with ExitStack() as stack:
            for run in before:
                self._take_all(run, stack)
            release_all(self._workers)
            self._stack = stack.pop_all()

    def __enter__(self) -> RunByRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def step(self, number: int) -> Iterator[Heard]:
        """Let the last run take a step, and yield what all have said of that one."""
        if number > self._asked:
            self._ask_last(number)
        yield from with_spooled(self._last, self._said(number), self._spools[number])
        for spool in self._spools[number].values():
            spool.close()

    def _said(self, number: int) -> Iterator[Entry]:
        """Yield what the last run says of a step, and ask for the next, which it takes while this one is compared."""
        yield from received(self._last, self._workers[self._last], self._progress)
        self._note_failure(self._last, number)
        if not self.failures(number) and number + 1 < len(self._spools):
            self._ask_last(number + 1)

    def _ask_last(self, number: int) -> None:
        self._asked = number
        self._ask(self._last, number, self._chosen(self._last, number))

    def failures(self, number: int) -> dict[str, str]:
        """Return what models raised in a step, by the label of each run."""
        return {self._workers[run].label: what for run, (at, what) in self._failures.items() if at == number}

    def _take_all(self, run: Run, stack: ExitStack) -> None:
        release_all(self._workers)
        worker = self._workers[run]
        # What comes after a step in which a model raised is not judged.
        count = 1 + min([at for at, _ in self._failures.values()], default=len(self._spools))
        for number, spools in enumerate(self._spools[:count]):
            ask = partial(self._ask, run, number, self._chosen(run, number))
            spools[run] = stack.enter_context(spooled(worker, ask, received(run, worker, self._progress)))
            self._note_failure(run, number)
            if run in self._failures:
                break
            if run == TRUTH:
                choices = Spool(Entry(name, "", "", array) for name, array in worker.results.items())
                self._choices.append(stack.enter_context(choices))
        finish({run: worker})

    def _note_failure(self, run: Run, number: int) -> None:
        if self._workers[run].failure:
            self._failures[run] = number, self._workers[run].failure

    def _chosen(self, run: Run, number: int) -> dict[str, Array]:
        # Where the run that chooses has failed, the others go on without, and all are judged up to there.
        follows = run[1] != "float64" and number < len(self._choices)
        return self._choices[number].read_all() if follows else {}
