"""The losses and gradients rungs: the criterion, and what flows back from the total loss, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parity import rungs
from parity.choices import WANTED
from parity.frameworks.base import Feed
from parity.judge import Judge
from parity.layers import LayersSession, ModelJob, recent_of
from parity.rungs import PORT, TRUTH, Run, Rung
from parity.trace import Array
from parity.turns import hear
from parity.verdict import LayersVerdict

Progress = Callable[[str, int], None]


def silent(run: str, count: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class TrainingJob:
    """What to compare.

    Attributes:
        model: options, weights and fault; what its forward pass runs on is not looked at.
        batch: inputs and targets.
    """

    model: ModelJob
    batch: Feed


def compare_losses(session: LayersSession, job: TrainingJob, progress: Progress = silent) -> LayersVerdict:
    """Compare predictions, the matching, what crosses the criterion's modules, and every loss.

    Raises:
        InputError: weights, options or targets that cannot be used.
        WorkerError: a worker died.
    """
    session.build(job.model)
    return _compare(session, job, rungs.LOSSES, {run: {} for run in session.workers}, progress)


def compare_gradients(session: LayersSession, job: TrainingJob, progress: Progress = silent) -> LayersVerdict:
    """Compare the gradients of the total loss with respect to parameters and to what crosses modules.

    The float32 runs follow the choices of the reference's float64 run, see ``parity.choices``.

    Raises:
        InputError: weights, options or targets that cannot be used.
        WorkerError: a worker died, or the reference raised.
    """
    session.build(job.model)
    reference = session.workers[TRUTH]
    if session.sparing:
        for worker in session.workers.values():
            worker.release()
    reference.ask("choose", job.batch.arrays())
    choices = reference.answer()
    wanted = {name: array for name, array in choices.items() if name.startswith(WANTED)}
    given = {run: wanted if run[1] == "float64" else choices for run in session.workers}
    return _compare(session, job, rungs.GRADIENTS, given, progress)


def _compare(
    session: LayersSession, job: TrainingJob, rung: Rung, given: Mapping[Run, Mapping[str, Array]], progress: Progress
) -> LayersVerdict:
    # What flows back through one module is compared in float64 only.
    both64 = (PORT, "float64") in session.workers

    def ask(run: Run) -> None:
        arrays = {**job.batch.arrays(), **given[run]}
        session.workers[run].ask(rung.name, arrays, split=both64 and run[1] == "float64")

    judge = Judge(rung, tuple(session.workers), recent_of(session.workers))
    for run, entry, place in hear(session.workers, ask, progress, session.sparing):
        judge.take(run, entry, place)
    settings = job.model.settings(session.workers)
    choices = session.workers[PORT, "float32"].results.get("choices") if (PORT, "float32") in session.workers else None
    if choices is not None:
        settings = {**settings, "choices": {"given": int(choices[0]), "followed": int(choices[1])}}
    return judge.verdict(session.workers, settings)
