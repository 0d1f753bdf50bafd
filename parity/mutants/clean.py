"""Generated cases without a fault, on which no rung may raise an alarm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.frameworks.base import Batch
from parity.ladder import ModelVerdict, training_batch
from parity.mutants.kills import Ground, on_grounds

# Of twenty cases; the later rungs take longer and see what the earlier ones see.
_RUNGS = ("layers",) * 8 + ("losses",) * 6 + ("gradients",) * 4 + ("steps",) * 2

CLASSES = 91
# Pixels of a cell of the features.
_STRIDE = 32


@dataclass(frozen=True)
class CleanCase:
    """A detector and a batch.

    Attributes:
        number: from 0.
        rung: that runs on it.
        options: of the detector, where they are not those of the small one.
        size: pixels of the shorter side.
        batch: images and their targets.
    """

    number: int
    rung: str
    options: dict[str, Any]
    size: int
    batch: Batch

    def __str__(self) -> str:
        objects = ", ".join(str(len(labels)) for labels in self.batch.labels)
        options = " ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.number} {self.rung}: {options}, {self.size} pixels, objects {objects}"


@dataclass(frozen=True)
class CleanResult:
    """What a rung said to a case; ``verdict`` is None if a worker died."""

    case: CleanCase
    verdict: ModelVerdict | None

    @property
    def alarm(self) -> bool:
        """Whether the rung failed, or had nothing to compare."""
        return not self.verdict or not self.verdict.compared


def clean_case(number: int, seed: int = 0) -> CleanCase:
    """Draw a case; the same for the same arguments on every machine."""
    rng = np.random.default_rng((seed, number))
    nheads = int(rng.choice((1, 2, 4, 8)))
    options: dict[str, Any] = {
        "enc_layers": int(rng.integers(1, 4)),
        "dec_layers": int(rng.integers(1, 4)),
        "nheads": nheads,
        "hidden_dim": 32 * int(rng.integers(1, 4)),
        "dim_feedforward": int(rng.integers(16, 200)),
        "num_queries": int(rng.integers(2, 40)),
        "pre_norm": bool(rng.integers(2)),
        "position_embedding": str(rng.choice(("sine", "learned"))),
        "aux_loss": bool(rng.integers(4)),
        "dropout": float(rng.choice((0.0, 0.1))),
        "eos_coef": float(rng.choice((0.1, 0.5))),
        "seed": int(rng.integers(1000)),
    }
    if number % 10 == 0:
        options |= {"backbone": "resnet50", "dilation": bool(rng.integers(2))}
    size = int(rng.integers(48, 129))
    batch = _batch(rng, size)
    while not pads(batch):
        size += 16
        batch = _batch(rng, size)
    return CleanCase(number, _RUNGS[number % len(_RUNGS)], options, size, batch)


def pads(batch: Batch) -> bool:
    """Whether padding reaches the mask of the features: where it does not, the rung of layers rightly refuses."""
    for axis in (1, 2):
        sides = [image.shape[axis] for image in batch.images]
        longest = max(sides)
        cells = -(-longest // _STRIDE)
        if min(sides) <= (cells - 1) * longest // cells:  # the pixel that the last cell looks at
            return True
    return False


def clean_results(cases: Iterable[CleanCase], folder: Path) -> Iterator[CleanResult]:
    """Run one case after another; checkpoints go to ``folder``."""

    def run(ground: Ground, case: CleanCase) -> ModelVerdict:
        return ground.compare(case.rung, "", case.batch, **case.options)

    for case, verdict in on_grounds(cases, folder, run):
        yield CleanResult(case, verdict)


def _batch(rng: np.random.Generator, size: int) -> Batch:
    """Draw two or three of the photographs, in any order, and up to twelve objects on each."""
    images = training_batch(size).images
    # Of one alone nothing is padding, which the rung of layers rightly refuses as a mask that was not tried.
    chosen = rng.permutation(len(images))[: rng.integers(2, len(images) + 1)]
    labels, boxes = [], []
    for _ in chosen:
        count = int(rng.integers(0, 13))
        labels.append(rng.integers(0, CLASSES, count))
        sides = rng.uniform(0.02, 0.9, (count, 2))
        centres = rng.uniform(sides / 2, 1 - sides / 2)
        boxes.append(np.concatenate([centres, sides], axis=1).astype(np.float32))
    return Batch([images[i] for i in chosen], labels, boxes)
