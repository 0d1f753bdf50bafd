"""What the costs beside the steps are measured on, and what a measurement of one gives."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What the costs are measured on.

    Attributes:
        model: options of the detector.
        training: of the detector and its training; ``batch_size`` images at a time.
        size: height and width in pixels.
        rounds: how often what is fast enough is measured, in turns.
        threads: of a process that computes.
        coco_path: photographs to load, in COCO's layout; None for the project's own.
    """

    model: argparse.Namespace
    training: argparse.Namespace
    size: tuple[int, int]
    rounds: int
    threads: int
    coco_path: Path | None = None


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        value: the number.
        unit: of it, as "s", "MB/s" or "times".
    """

    value: float
    unit: str

    def __str__(self) -> str:
        whole = self.value >= 1000 or float(self.value).is_integer()
        return f"{self.value:.0f}" if whole else f"{self.value:.3g}"


@dataclass(frozen=True)
class Cost:
    """What was measured of one cost.

    Attributes:
        name: of the cost, as ``--also`` takes it.
        on: what it was measured on, in words, and what else a reader must know.
        figures: by what each is.
    """

    name: str
    on: str
    figures: dict[str, Figure] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return all but the name, each figure with its unit."""
        return {"on": self.on, "figures": {what: vars(figure) for what, figure in self.figures.items()}}


Progress = Callable[[str], None]
# What is left to do once all that can be refused is: it is told whom to tell what is done next.
Measurement = Callable[[Progress], Cost]
