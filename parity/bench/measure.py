"""Sides are measured in turns, each in a process of its own, so that all meet the same machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from parity.process import Process, WorkerError

WARM_UP = 3


@dataclass(frozen=True)
class Case:
    """What one side took for images of one size.

    Attributes:
        side: one of ``parity.bench.sides.SIDES``.
        size: height and width in pixels.
        step: seconds of a whole step of training in each round.
        forward: seconds of a forward pass in evaluation in each round.
        parts: median seconds of each part of a step, each waited for.
        peak: of the resident memory after the steps, MiB.
        first: seconds of the first step, with the kernels that it compiled.
    """

    side: str
    size: tuple[int, int]
    step: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)
    peak: float = 0.0
    first: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return all of it, and the medians."""
        return {**asdict(self), "median_step": median(self.step), "median_forward": median(self.forward)}


class Side(Process):
    """A process that measures one side; use as a context manager.

    Args:
        name: one of ``parity.bench.sides.SIDES``.
        threads: that it computes with.
    """

    def __init__(self, name: str, threads: int) -> None:
        super().__init__(name, [sys.executable, "-m", "parity.bench.worker", name], threads)

    def ask(self, what: str, **more: Any) -> Any:
        """Ask for a measurement and wait for it.

        Raises:
            WorkerError: the process failed or ended.
        """
        self._send({"do": what, **more})
        header, _ = self._answer()
        if "failed" in header:
            raise WorkerError(f"{self.label} failed:\n{header['failed']}")
        return header["answer"]


def measure(
    args: argparse.Namespace,
    sides: Sequence[str],
    size: tuple[int, int],
    rounds: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Case]:
    """Measure sides on images of one size.

    Args:
        args: options of the detector and its training; ``batch_size`` images at a time.
        sides: of ``parity.bench.sides.SIDES``.
        size: height and width in pixels.
        rounds: how often, in turns; the first steps are not counted.
        threads: of each side; the others wait meanwhile.
        progress: called with what is done next.

    Raises:
        WorkerError: a side failed.
    """
    cases = []
    with ExitStack() as stack:
        running: list[Side] = []
        for name in sides:
            progress(f"{name} {size[0]}x{size[1]}: first steps")
            side = stack.enter_context(Side(name, threads))
            running.append(side)
            side.ask("build", args=vars(args), size=size)
            first = side.ask("step")
            for _ in range(WARM_UP - 1):
                side.ask("step")
            # Before anything else is run: the other measurements could need more than a step.
            cases.append(Case(name, size, first=first, peak=side.ask("memory")))
            side.ask("forward"), side.ask("parts")
        parts: list[list[dict[str, float]]] = [[] for _ in running]
        for number in range(rounds):
            progress(f"{size[0]}x{size[1]}: round {number + 1} of {rounds}")
            for case, side, found in zip(cases, running, parts, strict=True):
                case.step.append(side.ask("step"))
                case.forward.append(side.ask("forward"))
                found.append(side.ask("parts"))
        for case, found in zip(cases, parts, strict=True):
            case.parts.update({name: median(one[name] for one in found) for name in found[0]})
    return cases
