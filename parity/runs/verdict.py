"""The training rung: the first steps in float64, then whole runs in float32 inside the envelope of PyTorch's twins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from detr_common.coco import build_dataset
from detr_common.loader import Loader
from parity.frameworks.base import Batch
from parity.layers import LayersJob, LayersSession
from parity.output import plain
from parity.runs.curves import PORT, REFERENCE, Curves, Inside, inside
from parity.runs.figures import draw, losses_of
from parity.runs.training import RunProgress, TrainJob, prepare, train_all
from parity.steps import StepsJob, compare_steps
from parity.steps_verdict import StepsVerdict

VERDICT = "verdict.json"
_NAMES = {REFERENCE: "PyTorch", PORT: "Jittor"}


@dataclass(frozen=True)
class TrainVerdict:
    """What was found.

    Attributes:
        first: of the first steps; None if they were left out.
        curves: of each loss, where the port's curve lies.
        runs: by name.
        pictures: that were drawn.
    """

    first: StepsVerdict | None
    curves: tuple[Inside, ...]
    runs: dict[str, Curves]
    pictures: tuple[Path, ...]

    def __bool__(self) -> bool:
        """Whether the port trains as PyTorch does; the total loss decides, the others are shown."""
        return (self.first is None or bool(self.first)) and bool(self.curves) and bool(self.curves[0])

    def ends(self) -> dict[str, dict[str, float]]:
        """Return what each run ends with, see ``Curves.ends``."""
        return {name: run.ends() for name, run in self.runs.items()}

    def lines(self) -> list[str]:
        """Return the story of the rung."""
        lines = [f"{'✓ PASS' if self else '✗ FAIL'}  training: {len(self.runs)} runs of {self._epochs} epochs"]
        if self.first is not None:
            steps = self.first.steps
            worst = max((step.error64 or 0.0 for step in steps), default=0.0)
            mark = "✓" if self.first else "✗"
            lines.append(f"  {mark} first {len(steps)} steps in float64: parameters within {worst:.2g} of their scale")
        for number, curve in enumerate(self.curves):
            mark = "·" if number else "✓" if curve else "✗"
            lines.append(
                f"  {mark} {curve.key}: at most {curve.worst:.2f} times the envelope of the twins; "
                f"around each of PyTorch's runs {min(curve.multiples):.2f} to {max(curve.multiples):.2f}, "
                f"median {curve.typical:.2f}{_among(curve)}"
            )
        if self.curves and _by_chance(self.curves[0]):
            lines.append(
                f"  A run of PyTorch's own in the port's place is beyond {self.curves[0].factor:g} as well: so few "
                f"twins tell no fault from chance. Next: the same command with --twins {max(8, 2 * self._twins)}; "
                "runs that are over are kept"
            )
        for name, ends in self.ends().items():
            shown = "  ".join(f"{key} {value:.4f}" for key, value in ends.items())
            lines.append(f"  {_NAMES.get(name, name):<8} {shown}")
        return [*lines, *(f"  {path}" for path in self.pictures)]

    @property
    def _twins(self) -> int:
        return sum(name not in _NAMES for name in self.runs)

    @property
    def _epochs(self) -> int:
        return min(len(run.epochs) for run in self.runs.values())

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {
            "rung": "training",
            "passed": bool(self),
            "first": self.first.as_dict() if self.first is not None else None,
            "curves": [
                {
                    "key": curve.key,
                    "worst": curve.worst,
                    "factor": curve.factor,
                    "distances": list(curve.distances),
                    "envelope": list(curve.envelope),
                    "typical": curve.typical,
                    "multiples": list(curve.multiples),
                    "correct": list(curve.correct),
                }
                for curve in self.curves
            ],
            "ends": self.ends(),
            "pictures": [path.name for path in self.pictures],
        }


def _by_chance(curve: Inside) -> bool:
    """Tell whether a curve that is outside says nothing, since one of PyTorch's own would be outside as well."""
    return not curve and bool(curve.correct) and max(curve.correct) > curve.factor


def _among(curve: Inside) -> str:
    if not curve.correct:
        return ""
    return f"; each of these in the port's place {min(curve.correct):.2f} to {max(curve.correct):.2f}"


def compare_training(job: TrainJob, first_steps: int, progress: RunProgress) -> TrainVerdict:
    """Train in both frameworks and judge; the verdict and the pictures are written to the folder of the job.

    Args:
        job: what to train.
        first_steps: that are compared in float64 before; 0 for none.
        progress: told of the runs.

    Raises:
        InputError: the data, the options, the weights or the folder cannot be used, or a run diverged.
        WorkerError: a run died.
    """
    start = prepare(job)
    first = _first_steps(job, start.weights, first_steps) if first_steps else None
    runs = train_all(job, start, progress)
    curves = tuple(inside(runs, key) for key in losses_of(runs))
    verdict = TrainVerdict(first, curves, runs, tuple(draw(runs, job.out)))
    (job.out / VERDICT).write_text(json.dumps(plain(verdict.as_dict()), indent=1), encoding="utf8")
    return verdict


def _first_steps(job: TrainJob, weights: Path, count: int) -> StepsVerdict:
    batches = first_batches(job, count)
    model = LayersJob(job.args, weights, batches[0].images)
    with LayersSession() as session:
        return compare_steps(
            session,
            StepsJob(model, tuple(batches), forced=0, free=len(batches), drop=0, seed=job.args.seed),
            lambda run, done: None,
        )


def first_batches(job: TrainJob, count: int) -> Sequence[Batch]:
    """Return the batches with which a run begins."""
    args = job.args
    with Loader(build_dataset("train", args), args.batch_size, 0, shuffle=True, seed=args.seed) as loader:
        drawn = list(islice(loader.epoch(0), count))
    return [Batch.from_targets(images, targets) for images, targets in drawn]
