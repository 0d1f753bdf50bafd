"""What a run left behind, read again, and how far one run is from another."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from detr_common.errors import InputError
from detr_common.logs import BOXES, LOG, MASKS

STEPS = "steps.jsonl"
REFERENCE, PORT = "torch", "jittor"
# What may be apart without counting: a thousandth of a loss is nothing that anybody would see in a curve.
FLOOR = 1e-3


@dataclass(frozen=True)
class Curves:
    """A run.

    Attributes:
        steps: what each step returned, in their order.
        epochs: the lines of its ``log.txt``.
    """

    steps: tuple[dict[str, float], ...]
    epochs: tuple[dict[str, Any], ...]

    def of(self, key: str) -> list[float]:
        """Return a value of every epoch, such as ``train_loss``.

        Raises:
            KeyError: it was not logged.
        """
        return [float(line[key]) for line in self.epochs]

    def figures(self, train: bool, masks: bool = False) -> dict[int, list[float]]:
        """Return the figures of pycocotools by the epoch after which there was an evaluation."""
        key = f"{'train' if train else 'test'}_{MASKS if masks else BOXES}"
        return {int(line["epoch"]): line[key] for line in self.epochs if key in line}

    def quality(self, train: bool) -> dict[int, float]:
        """Return the panoptic quality of all categories, likewise."""
        key = f"{'train' if train else 'test'}_PQ_all"
        return {int(line["epoch"]): line[key]["pq"] for line in self.epochs if key in line}

    def ends(self) -> dict[str, float]:
        """Return what the run ends with: the loss over its last five epochs, and every AP and PQ on both parts."""
        found = {"loss": final(self.of("train_loss"))}
        for part, train in (("train", True), ("val", False)):
            series = {
                f"ap_{part}": {epoch: values[0] for epoch, values in self.figures(train).items()},
                f"mask_ap_{part}": {epoch: values[0] for epoch, values in self.figures(train, masks=True).items()},
                f"pq_{part}": self.quality(train),
            }
            found |= {name: values[max(values)] for name, values in series.items() if values}
        return found


def read_curves(folder: Path) -> Curves:
    """Read what a run has written; of a step that was taken again after a resumption, the last.

    Raises:
        InputError: a file is missing or damaged.
    """
    try:
        steps: dict[tuple[int, int], dict[str, float]] = {}
        for line in _lines(folder / STEPS):
            steps[line["epoch"], line["step"]] = line
        epochs = tuple(_lines(folder / LOG))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: its logs cannot be read ({error}); remove the folder and run it again") from None
    return Curves(tuple(steps[key] for key in sorted(steps)), epochs)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def apart(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Return how far a curve is from another, at each point as a fraction of the other.

    A hundredth of the other's largest value stands for what is less, so that an error of 0 can be compared with.
    """
    least = max(max(map(abs, reference), default=0.0) / 100, 1e-12)
    return [abs(a - b) / max(abs(b), least) for a, b in zip(values, reference, strict=True)]


def final(values: Sequence[float], last: int = 5) -> float:
    """Return the mean of the last epochs of a curve, which says more than the last alone."""
    tail = list(values)[-last:]
    return sum(tail) / len(tail)


def envelope(twins: Sequence[Sequence[float]], floor: float = FLOOR) -> list[float]:
    """Return how far the twins have been from PyTorch's run up to each point, at least ``floor``.

    Args:
        twins: for each, how far it is at each point.
        floor: as a fraction, what is not told apart.
    """
    largest, found = floor, []
    for together in zip(*twins, strict=True):
        largest = max(largest, *together)
        found.append(largest)
    return found


@dataclass(frozen=True)
class Inside:
    """How a curve of the port lies among PyTorch's runs.

    Attributes:
        key: what was compared, epoch by epoch.
        distances: of the port from the run of PyTorch that was not moved.
        envelope: of the twins around that run.
        factor: up to which multiple of the envelope counts as inside.
        multiples: the largest multiple of the envelope that the port's distances are, once around each of PyTorch's
            runs, in the envelope of the others.
        correct: the same for each of PyTorch's runs in the place of the port, the median alone; not judged, but what
            to read ``typical`` beside.
    """

    key: str
    distances: tuple[float, ...]
    envelope: tuple[float, ...]
    factor: float
    multiples: tuple[float, ...]
    correct: tuple[float, ...] = ()

    @property
    def worst(self) -> float:
        """The largest multiple of the envelope around the run that was not moved, which is judged."""
        return multiple(self.distances, self.envelope)

    @property
    def typical(self) -> float:
        """The median of ``multiples``; not judged: how wide the envelope is around a single run is luck."""
        return median(self.multiples) if self.multiples else math.inf

    def __bool__(self) -> bool:
        return bool(self.distances) and self.worst <= self.factor


def multiple(distances: Sequence[float], around: Sequence[float]) -> float:
    """Return the largest multiple of an envelope that a curve's distances are; infinity if one is not a number."""
    found = [d / e for d, e in zip(distances, around, strict=True)]
    return math.inf if any(map(math.isnan, found)) else max(found, default=0.0)


def multiples(curve: Sequence[float], others: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the largest multiple of a curve around each of the others, in the envelope of the rest of them."""
    found = []
    for i, middle in enumerate(others):
        rest = [apart(other, middle) for j, other in enumerate(others) if j != i]
        found.append(multiple(apart(curve, middle), envelope(rest)))
    return tuple(found)


def inside(runs: Mapping[str, Curves], key: str, factor: float = 2.0) -> Inside:
    """Judge one curve of the port.

    Args:
        runs: ``REFERENCE``, ``PORT`` and twins by name.
        key: of the logs.
        factor: see ``Inside``.

    Raises:
        InputError: the runs are of different lengths, or there is no twin.
    """
    lengths = {name: len(run.epochs) for name, run in runs.items()}
    if len(set(lengths.values())) > 1 or len(runs) < 3:
        raise InputError(f"runs of {lengths} epochs cannot be compared; a run of each framework and a twin are needed")
    port, reference = runs[PORT].of(key), runs[REFERENCE].of(key)
    others = [run.of(key) for name, run in runs.items() if name != PORT]
    twins = [apart(run.of(key), reference) for name, run in runs.items() if name not in (REFERENCE, PORT)]
    correct = [multiples(one, others[:i] + others[i + 1 :]) for i, one in enumerate(others)] if len(others) > 2 else []
    return Inside(
        key,
        tuple(apart(port, reference)),
        tuple(envelope(twins)),
        factor,
        multiples(port, others),
        tuple(median(one) for one in correct),
    )
