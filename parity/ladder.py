"""The ladder: the rungs in their order, on one set of workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import fixtures
from detr_common.images import Size
from parity.batch import mirrored
from parity.frameworks.base import Batch, Feed
from parity.layers import LayersSession, ModelJob
from parity.ops.session import OpsVerdict, run_ops
from parity.policy import Steps
from parity.steps import StepsJob, compare_steps
from parity.steps_verdict import StepsVerdict
from parity.training import Progress, TrainingJob, compare_gradients, compare_losses
from parity.verdict import LayersVerdict

RUNGS = ("ops", "layers", "losses", "gradients", "steps")

ModelVerdict = LayersVerdict | StepsVerdict
Verdict = OpsVerdict | ModelVerdict


@dataclass(frozen=True)
class LadderJob:
    """What to compare.

    Attributes:
        model: options, weights, photographs and fault.
        batch: photographs with their targets, for all rungs but layers.
        more: what the steps run on in turn, beside ``batch``; of photographs the mirror image by default.
        drop: steps after which the schedule moves on, once.
        forced: steps on drawn gradients.
        free: steps of training.
        seed: of drawn gradients and dropout masks.
        examples: cases for each operation.
        rungs: those that are wanted.
    """

    model: ModelJob
    batch: Feed
    forced: int = 4
    free: int = 10
    seed: int = 0
    examples: int = 20
    rungs: tuple[str, ...] = RUNGS
    more: tuple[Feed, ...] = ()
    drop: int = 3


@dataclass(frozen=True)
class LadderVerdict:
    """Truthy if every rung that was wanted ran and passed.

    Attributes:
        wanted: names of the rungs.
        verdicts: of those that ran.
    """

    wanted: Sequence[str]
    verdicts: Sequence[Verdict]

    def __bool__(self) -> bool:
        return bool(self.wanted) and not self.left_out and all(self.verdicts)

    @property
    def left_out(self) -> list[str]:
        """Rungs that were wanted and did not run."""
        ran = [verdict.rung for verdict in self.verdicts]
        return [rung for rung in self.wanted if rung not in ran]

    @property
    def compared(self) -> int:
        """Number of comparisons; 0 if any rung compared nothing."""
        counts = [verdict.compared for verdict in self.verdicts]
        return sum(counts) if counts and all(counts) else 0

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for ``--json``."""
        return {
            "passed": bool(self),
            "left_out": self.left_out,
            "rungs": {verdict.rung: verdict.as_dict() for verdict in self.verdicts},
        }


def training_batch(size: Size, images: int = 3) -> Batch:
    """Return three annotated photographs of unequal size, or two.

    Args:
        size: pixels of the shorter side, or height and width of the frame that each fits into.
        images: 2 leaves out the last, on which there is nothing.

    Raises:
        InputError: ``size`` is less than the backbone can take.
    """
    photographs, targets = fixtures.training_batch(size)
    return Batch.from_targets(photographs[:images], targets[:images])


def climb(
    session: LayersSession, job: LadderJob, progress: Progress, done: Callable[[Verdict], None] = lambda _: None
) -> LadderVerdict:
    """Run the rungs one after another; one that fails does not keep the next from running.

    Args:
        session: the workers.
        job: what to compare.
        progress: called with a run's label and the number of its tensors received.
        done: called with the verdict of each rung.

    Raises:
        InputError: weights, options or targets that cannot be used.
        WorkerError: a worker died.
    """
    training = TrainingJob(job.model, job.batch)
    more = job.more or ((mirrored(job.batch),) if isinstance(job.batch, Batch) else ())
    steps = StepsJob(training.model, (job.batch, *more), job.forced, job.free, job.drop, job.seed, Steps())
    run: dict[str, Callable[[], Verdict]] = {
        "ops": lambda: run_ops(examples=job.examples),
        "layers": lambda: session.compare(job.model, progress),
        "losses": lambda: compare_losses(session, training, progress),
        "gradients": lambda: compare_gradients(session, training, progress),
        "steps": lambda: compare_steps(session, steps, progress),
    }
    verdicts = []
    for rung in job.rungs:
        verdicts.append(run[rung]())
        done(verdicts[-1])
    return LadderVerdict(job.rungs, verdicts)
