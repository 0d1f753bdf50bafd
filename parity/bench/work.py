"""Cost against work: by how much time and memory of a step grow, and by how much its arithmetic.

What is demanded: from the smallest to the largest value of a variable neither may grow by a larger factor than the
arithmetic, but for ``ALLOWANCE``. Nothing is taken off the time. Of the memory, what was resident before the first step
is taken off, since the interpreter and its libraries, which never grow, would otherwise hide what does.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from parity.bench.loads import Load, Variable
from parity.bench.measure import WARM_UP, Side

# For the noise of a shared machine: medians of the same step in two runs differ by up to a tenth.
ALLOWANCE = 1.1


@dataclass(frozen=True)
class Taken:
    """What one side took for one load.

    Attributes:
        step: seconds of a whole step of training in each round, those of the first steps left out.
        before: resident memory before the first step, MiB: the program, model, optimizer and batch.
        peak: of the resident memory after all steps, MiB.
    """

    step: list[float]
    before: float
    peak: float

    @property
    def seconds(self) -> float:
        """The median of the rounds."""
        return median(self.step)

    @property
    def memory(self) -> float:
        """What the steps needed beside what was resident before them, MiB."""
        return self.peak - self.before


@dataclass(frozen=True)
class Cost:
    """What one load costs.

    Attributes:
        operations: of a step's arithmetic; see ``parity.bench.sides.Package.operations``.
        taken: by each side.
    """

    operations: int
    taken: dict[str, Taken]


@dataclass(frozen=True)
class Growth:
    """From the smallest value of a variable to the largest, the factors by which the cost of one side grew.

    Attributes:
        variable: its name.
        side: one of ``parity.bench.sides.SIDES``.
        arithmetic: the factor of the floating-point operations.
        time: that of the seconds.
        memory: that of the memory.
    """

    variable: str
    side: str
    arithmetic: float
    time: float
    memory: float

    def beyond(self) -> list[str]:
        """Return which of "time" and "memory" grew by more than the arithmetic and the allowance."""
        limit = self.arithmetic * ALLOWANCE
        return [name for name, factor in (("time", self.time), ("memory", self.memory)) if not factor <= limit]

    def to_json(self) -> dict[str, Any]:
        """Return all of it, and the judgement."""
        return {**asdict(self), "beyond": self.beyond(), "within": not self.beyond()}


@dataclass(frozen=True)
class Series:
    """The costs of a variable's loads.

    Attributes:
        variable: what grew.
        costs: of its loads, in their order.
    """

    variable: Variable
    costs: list[Cost]

    def operations(self) -> list[int]:
        """Return the operations of each load."""
        return [cost.operations for cost in self.costs]

    def seconds(self, side: str) -> list[float]:
        """Return the seconds of a step at each load."""
        return [cost.taken[side].seconds for cost in self.costs]

    def memory(self, side: str) -> list[float]:
        """Return the memory of the steps at each load, MiB."""
        return [cost.taken[side].memory for cost in self.costs]

    def growths(self) -> list[Growth]:
        """Return the growth of each side."""
        return [
            judge(self.variable.name, side, self.operations(), self.seconds(side), self.memory(side))
            for side in self.costs[0].taken
        ]

    def to_json(self) -> dict[str, Any]:
        """Return all of it, and what it is judged by."""
        rows = zip(self.variable.labels(), self.variable.loads, self.costs, strict=True)
        costs = [
            {
                "value": label,
                **asdict(load),
                "operations": cost.operations,
                "sides": {
                    side: {**asdict(taken), "median_step": taken.seconds, "memory": taken.memory}
                    for side, taken in cost.taken.items()
                },
            }
            for label, load, cost in rows
        ]
        return {"over": self.variable.name, "costs": costs, "growth": [one.to_json() for one in self.growths()]}


def judge(
    variable: str, side: str, operations: Sequence[float], seconds: Sequence[float], memory: Sequence[float]
) -> Growth:
    """Return by what factors the cost of one side grew.

    Args:
        variable: what grew; its smallest value comes first in each of the sequences, its largest last.
        side: whose cost it is.
        operations: of a step.
        seconds: of a step.
        memory: that the steps needed, in any unit.
    """
    return Growth(variable, side, _factor(operations), _factor(seconds), _factor(memory))


def _factor(values: Sequence[float]) -> float:
    # Out of nothing anything is too much, and so is what could not be measured.
    return values[-1] / values[0] if values[0] > 0 else math.inf


def measure_series(
    args: argparse.Namespace,
    variables: Sequence[Variable],
    sides: Sequence[str],
    rounds: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Series]:
    """Measure one variable after another; a load that two of them share is measured once.

    Args:
        args: options of the detector and its training; each load brings its own sizes.
        variables: what grows.
        sides: of ``parity.bench.sides.SIDES``.
        rounds: how often, in turns; the first steps are not counted.
        threads: of each side; the others wait meanwhile.
        progress: called with what is done next.

    Raises:
        WorkerError: a side failed.
    """
    operations = _count([load for variable in variables for load in variable.loads], args, threads, progress)
    known: dict[Load, Cost] = {}
    for variable in variables:
        for label, load in zip(variable.labels(), variable.loads, strict=True):
            if load not in known:

                def told(what: str, where: str = f"{variable.name} {label}") -> None:
                    progress(f"{where}: {what}")

                known[load] = Cost(operations[load], measure_load(args, load, sides, rounds, threads, told))
        yield Series(variable, [known[load] for load in variable.loads])


def _count(
    loads: Sequence[Load], args: argparse.Namespace, threads: int, progress: Callable[[str], None]
) -> dict[Load, int]:
    """Return the operations of a step at each load, counted in a process that has ended before others are measured."""
    progress("arithmetic")
    counted: dict[Load, int] = {}
    with Side("detr_pt", threads) as counting:
        for load in dict.fromkeys(loads):
            counting.ask("build", **_building(args, load))
            counted[load] = counting.ask("operations")
    return counted


def _building(args: argparse.Namespace, load: Load) -> dict[str, Any]:
    return {"args": {**vars(args), **load.options()}, "size": load.size}


def measure_load(
    args: argparse.Namespace,
    load: Load,
    sides: Sequence[str],
    rounds: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Taken]:
    """Measure one load, each side in a fresh process; see ``measure_series``.

    Raises:
        WorkerError: a side failed.
    """
    build = _building(args, load)
    steps: dict[str, list[float]] = {name: [] for name in sides}
    with ExitStack() as stack:
        running = {name: stack.enter_context(Side(name, threads)) for name in sides}
        before: dict[str, float] = {}
        for name, side in running.items():
            progress(f"{name}, first steps")
            side.ask("build", **build)
            before[name] = side.ask("resident")
            for _ in range(WARM_UP):
                side.ask("step")
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for name, side in running.items():
                steps[name].append(side.ask("step"))
        return {name: Taken(steps[name], before[name], side.ask("memory")) for name, side in running.items()}
