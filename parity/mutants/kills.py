"""Plants known faults one after another on a small detector, and tells where each was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from detr_common.options import default_args, training_args
from fixtures.coco import Drawn, write_coco
from parity.batch import mirrored, photograph_batch
from parity.data import DataJob, DataVerdict, compare_data
from parity.demo import write_seeded_checkpoint
from parity.frameworks.base import Batch
from parity.ladder import ModelVerdict, training_batch
from parity.layers import Images, LayersJob, LayersSession
from parity.mutants.mutant import Mutant
from parity.process import WorkerError
from parity.steps import StepsJob, compare_steps
from parity.steps_verdict import StepsVerdict
from parity.training import TrainingJob, compare_gradients, compare_losses

SMALL: dict[str, object] = {
    "backbone": "resnet18",
    "enc_layers": 2,
    "dec_layers": 2,
    "hidden_dim": 64,
    "nheads": 4,
    "dim_feedforward": 128,
    "num_queries": 20,
    "dropout": 0.0,
}

Item = TypeVar("Item")
Result = TypeVar("Result")

# Below a fault's own size no smaller one is looked for than this many powers of ten.
DECADES = 16


@dataclass(frozen=True)
class Kill:
    """What became of a fault.

    Attributes:
        mutant: the fault.
        verdict: of its rung; None if a worker died of the fault.
        smallest: the smallest size at which it was still found where it sits; 0 if that was not looked for.
    """

    mutant: Mutant
    verdict: ModelVerdict | DataVerdict | None
    smallest: float = 0.0

    @property
    def owner(self) -> str:
        """What was blamed; empty if nothing was found."""
        first = self.verdict.first_divergence if self.verdict is not None else None
        return first.owner if first is not None else ""

    @property
    def at(self) -> str:
        """The tensor that failed first."""
        first = self.verdict.first_divergence if self.verdict is not None else None
        return first.name if first is not None else ""

    @property
    def placed(self) -> bool:
        """Whether it was found where it is expected."""
        return self.owner == self.mutant.module

    @property
    def excess(self) -> float:
        """How many times the bound the first error was; infinite where a tensor is on one side only, or not equal."""
        if self.verdict is None:
            return math.inf
        if isinstance(self.verdict, StepsVerdict):
            finding = self.verdict.first_divergence
            return finding.excess if finding is not None else 0.0
        first = self.verdict.first_divergence
        if first is None:
            return 0.0
        if isinstance(self.verdict, DataVerdict) or first.error64 is None or first.error64.mismatches:
            return math.inf
        exact = self.verdict.exact
        return exact.size(first.error64) / exact.bound


class Ground:
    """A small detector, its checkpoints and its batch, and the workers.

    Args:
        session: the workers.
        folder: where checkpoints go.
        size: pixels of the photographs' shorter side.
    """

    def __init__(self, session: LayersSession, folder: Path, size: int = 64) -> None:
        self.session = session
        self.size = size
        self.batch = training_batch(size)
        self._folder = folder
        self._checkpoints: dict[str, Path] = {}

    def job(self, mutant: str, images: Images, **options: Any) -> LayersJob:
        """Return a job for the layers rung; a checkpoint is written once for each set of options."""
        args = default_args(**{**SMALL, **options})
        key = repr(sorted(options.items()))
        if key not in self._checkpoints:
            self._checkpoints[key] = write_seeded_checkpoint(args, self._folder / f"{len(self._checkpoints)}.pkl")
        return LayersJob(args, self._checkpoints[key], images, mutant=mutant)

    def data_job(self, mutant: str, **options: Any) -> DataJob:
        """Return a job for the rung of data, on drawn photographs with crowds."""
        shapes = self._folder / "shapes"
        if not shapes.exists():
            write_coco(shapes, Drawn(train=20, val=1))
        args = training_args(coco_path=str(shapes), coco_panoptic_path=str(shapes), num_workers=0, **options)
        args.image_size, args.batch_size = 2 * self.size, 4
        return DataJob(args, ("train",), epochs=4, mutant=mutant)

    def compare(self, rung: str, mutant: str = "", batch: Batch | None = None, **options: Any) -> ModelVerdict:
        """Run a rung; that of steps first on drawn gradients, and where these agree on each side's own.

        Without ``batch`` the photographs are larger for the rung of layers.
        """
        images = batch.images if batch else photograph_batch([], 96 if rung == "layers" else self.size)
        job = self.job(mutant, images, **options)
        batch = batch or self.batch
        if rung == "layers":
            return self.session.compare(job)
        if rung != "steps":
            return (compare_losses if rung == "losses" else compare_gradients)(self.session, TrainingJob(job, batch))
        both = batch, mirrored(batch)
        verdict = compare_steps(self.session, StepsJob(job, both, forced=3, free=0))
        return compare_steps(self.session, StepsJob(job, both, forced=0, free=2)) if verdict else verdict

    def kill(self, mutant: Mutant) -> Kill:
        """Plant a fault and run the rung that must find it."""
        if mutant.rung == "data":
            return Kill(mutant, compare_data(self.data_job(mutant.planted, **mutant.options)))
        return Kill(mutant, self.compare(mutant.rung, mutant.planted, None, **mutant.options))

    def smallest(self, mutant: Mutant) -> float:
        """Return the smallest size, powers of ten below the fault's own, at which it is found where it sits; or 0."""
        found, lost = -1, DECADES
        while lost - found > 1:
            tried = (found + lost) // 2
            if self.kill(replace(mutant, size=mutant.size / 10**tried)).placed:
                found = tried
            else:
                lost = tried
        return mutant.size / 10**found if found >= 0 else 0.0


def kills(mutants: Iterable[Mutant], folder: Path, smallest: bool = False) -> Iterator[Kill]:
    """Plant one fault after another.

    Args:
        mutants: the faults.
        folder: where checkpoints go.
        smallest: whether to look for the smallest size of those that have one.
    """

    def plant(ground: Ground, mutant: Mutant) -> Kill:
        kill = ground.kill(mutant)
        return replace(kill, smallest=ground.smallest(mutant)) if smallest and mutant.size else kill

    for mutant, kill in on_grounds(mutants, folder, plant):
        yield kill or Kill(mutant, None)


def on_grounds(
    items: Iterable[Item], folder: Path, run: Callable[[Ground, Item], Result]
) -> Iterator[tuple[Item, Result | None]]:
    """Run one item after another, with new workers after one whose worker died, which has no result."""
    left = list(items)
    while left:
        with LayersSession() as session:
            ground = Ground(session, folder)
            while left:
                item = left.pop(0)
                try:
                    yield item, run(ground, item)
                except WorkerError:
                    yield item, None
                    break
