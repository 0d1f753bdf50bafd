"""The steps rung: optimizers on the same drawn gradients, then whole trainings side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.client import Worker
from parity.frameworks.base import Batch, Feed
from parity.layers import LayersSession, ModelJob, in_turns
from parity.metrics import measure, ulps_apart
from parity.policy import ULP32, Calibrated32, Steps
from parity.rungs import PORT, REFERENCE, TRUTH, TWIN, Run
from parity.steps_verdict import Finding, FreeStep, StepsVerdict
from parity.trace import Array, Entry
from parity.training import Progress, silent

SECOND_TWIN = (REFERENCE, "float32-twin2")
TWINS = (TWIN, SECOND_TWIN)
PAIRS = {dtype: ((PORT, dtype), (REFERENCE, dtype)) for dtype in ("float64", "float32")}

Versions = dict[Run, Entry]


@dataclass(frozen=True)
class StepsJob:
    """What to train.

    Attributes:
        model: options, weights and fault; what its forward pass runs on is not looked at.
        batches: taken in turn.
        forced: steps on drawn gradients; 0 leaves them out.
        free: steps on each side's own gradients; 0 leaves them out.
        drop: steps after which the schedule moves on, once.
        seed: of gradients and dropout masks.
        policy: what counts as agreement.
    """

    model: ModelJob
    batches: tuple[Feed, ...]
    forced: int = 4
    free: int = 10
    drop: int = 3
    seed: int = 0
    policy: Steps = field(default_factory=Steps)


def compare_steps(session: LayersSession, job: StepsJob, progress: Progress = silent) -> StepsVerdict:
    """Train both models and compare parameters, moments, learning rates, clip norms and losses after every step.

    First forced: both optimizers are given the same drawn gradients. Then free: each trains on its own, with the same
    batches and dropout masks, beside two twins of PyTorch's float32 run. The float32 runs follow the choices of the
    reference's float64 run (``parity.choices``): one query that is matched otherwise sends a run on another way.

    Raises:
        InputError: weights, options or targets that cannot be used.
        WorkerError: a worker died.
    """
    run = _Comparison(job)
    if job.forced:
        session.build(job.model)
        run.forced({r: w for r, w in session.workers.items() if r != TWIN}, progress)
    if job.free:
        with ExitStack() as stack:
            session.build(job.model)
            second = stack.enter_context(session.start(SECOND_TWIN))
            job.model.build(SECOND_TWIN, second)
            second.wait_built()
            run.free({**session.workers, SECOND_TWIN: second}, progress)
    return run.verdict(job.model.settings(session.workers))


class _Comparison:
    """Collects the findings of a job."""

    def __init__(self, job: StepsJob) -> None:
        self.job = job
        self.policy = job.policy
        self.findings: list[Finding] = []
        self.crashes: list[str] = []
        # By name, in the order in which they came up.
        self.absolute: dict[str, None] = {}
        self.compared = {"forced": 0, "free": 0}
        self.ulps: dict[str, dict[str, float]] = {dtype: {} for dtype in PAIRS}
        self.steps: list[FreeStep] = []
        self.envelope = 0.0
        self.loss_envelope = 0.0

    def forced(self, workers: Mapping[Run, Worker], progress: Progress) -> None:
        """Take steps on drawn gradients."""
        _prepare(workers)
        for number in range(self.job.forced):
            for versions in self._step(workers, number, True, progress):
                self._judge_forced(versions, number + 1)
            if self.crashes:
                return

    def free(self, workers: Mapping[Run, Worker], progress: Progress) -> None:
        """Take steps on each side's own gradients."""
        _prepare(workers)
        for number in range(self.job.free):
            tally = _Tally()
            for versions in self._step(workers, number, False, progress):
                self._judge_free(versions, tally)
            if self.crashes:
                return
            self._judge_envelope(number, tally)

    def _step(self, workers: Mapping[Run, Worker], number: int, forced: bool, progress: Progress) -> Iterator[Versions]:
        """Have all workers take a step; yield what all have, and note what only some have."""
        job = self.job
        arrays = {} if forced else job.batches[number % len(job.batches)].arrays()
        order = {"number": number, "seed": job.seed, "forced": forced, "drop": number + 1 == job.drop}
        # The reference goes first, since the float32 runs follow its choices.
        workers[TRUTH].ask("step", arrays, **order)
        of_truth = list(workers[TRUTH].entries())
        choices = {} if forced else workers[TRUTH].results
        others = {run: worker for run, worker in workers.items() if run != TRUTH}
        for run, worker in others.items():
            worker.ask("step", arrays if run[1] == "float64" else {**arrays, **choices}, **order)
        waiting: dict[str, Versions] = {entry.name: {TRUTH: entry} for entry in of_truth}
        for run, entry in in_turns(others, progress):
            versions = waiting.setdefault(entry.name, {})
            versions[run] = entry
            if len(versions) == len(workers):
                yield waiting.pop(entry.name)
        self.crashes += [f"{worker.label}: {worker.failure}" for worker in workers.values() if worker.failure]
        for name, versions in waiting.items():
            absent = ", ".join(" ".join(run) for run in workers if run not in versions)
            owner = next(iter(versions.values())).owner
            self.findings.append(Finding(name, owner, f"not in {absent}", math.inf))

    def _judge_forced(self, versions: Versions, steps: int) -> None:
        self.compared["forced"] += 1
        if versions[TRUTH].name.endswith("/norm"):
            self._judge_norms(versions)
            return
        for dtype, (port, reference) in PAIRS.items():
            value, truth = _alike(versions[port].array, versions[reference].array)
            entry = versions[port]
            kind = entry.name.split("/")[1]
            apart = ulps_apart(value, truth)
            allowed = self.policy.allowed_ulps(dtype, steps)
            self.ulps[dtype][kind] = max(self.ulps[dtype].get(kind, 0.0), apart / steps)
            if apart > allowed:
                problem = f"{dtype}: {apart:.3g} units in the last place apart, above {allowed:g}"
                self.findings.append(Finding(entry.name, entry.owner, problem, apart / allowed))

    def _judge_norms(self, versions: Versions) -> None:
        """Judge norms, which both sum up in an order of their own, and which float32 sums up in rounding errors."""
        truth, entry = versions[TRUTH].array, versions[PORT, "float64"]
        if entry.array.shape != truth.shape:
            # The first number is the norm of all of them.
            counts = f"{truth.size - 1} parameters take a gradient in PyTorch and {entry.array.size - 1} in Jittor"
            self.findings.append(Finding(entry.name, entry.owner, counts, math.inf))
            return
        exact = measure(entry.array, truth)
        reference, port = (measure(versions[side, "float32"].array, truth) for side in (REFERENCE, PORT))
        self.ulps["float64"]["norm"] = max(self.ulps["float64"].get("norm", 0.0), exact.relative / 2.0**-53)
        self.ulps["float32"]["norm"] = max(self.ulps["float32"].get("norm", 0.0), port.relative / ULP32)
        if exact.relative > self.policy.norm:
            problem = f"float64 error is {exact.relative:.3g} of the norm, above {self.policy.norm:g}"
            self.findings.append(Finding(entry.name, entry.owner, problem, exact.relative / self.policy.norm))
        elif not Calibrated32(factor_max=self.policy.factor).accepts(port, reference):
            ratio, _ = Calibrated32().ratios(port, reference)
            problem = f"float32 error is {ratio:.3g} times the reference's own, above {self.policy.factor:g}"
            self.findings.append(Finding(entry.name, entry.owner, problem, ratio / self.policy.factor))

    def _judge_free(self, versions: Versions, tally: _Tally) -> None:
        self.compared["free"] += 1
        entry = versions[PORT, "float64"]
        value, truth = _alike(entry.array, versions[TRUTH].array)
        error = self._relative(entry.name, value, truth) if value.shape == truth.shape else math.inf
        tally.worst64 = max(tally.worst64, error)
        if error > self.policy.bound:
            problem = f"float64 error is {error:.3g} of the scale, above {self.policy.bound:g}"
            self.findings.append(Finding(entry.name, entry.owner, problem, error / self.policy.bound))
        tally.add(entry.name, {run: version.array for run, version in versions.items()})

    def _relative(self, name: str, value: Array, truth: Array) -> float:
        """Return the largest error as a fraction of the scale, which for a parameter is at least its learning rate.

        AdamW moves a parameter that has a gradient by about its rate. One that begins at zero and has none by symmetry,
        such as a bias in front of a group norm with a group for each channel, holds nothing but rounding.
        """
        error = measure(value, truth)
        least = self.job.model.rate(name) if "/param/" in name else 0.0
        if truth.dtype.kind != "f" or error.scale >= least:
            return error.relative
        by_rate = error.max_abs / least
        if by_rate <= self.policy.bound < error.relative:
            self.absolute.setdefault(name.split("/", 1)[1], None)
        return by_rate

    def _judge_envelope(self, number: int, tally: _Tally) -> None:
        """Judge the distance of the float32 runs, which must look like that of the twins."""
        floor = self.policy.floor_ulps * ULP32
        self.envelope = max(self.envelope, floor, *(tally.distance(run) for run in TWINS))
        self.loss_envelope = max(self.loss_envelope, floor, *(tally.loss_distance(run) for run in TWINS))
        port = (PORT, "float32")
        step = FreeStep(
            number,
            tally.loss,
            tally.worst64,
            tally.distance(port),
            self.envelope,
            tally.loss_distance(port),
            self.loss_envelope,
        )
        self.steps.append(step)
        if step.ratio > self.policy.factor:
            problem = (
                f"float32 parameters are {step.ratio:.3g} times as far from PyTorch's as the twins; of the square of "
                f"that distance, {tally.shares(port)}"
            )
            self.findings.append(Finding(f"step{number}", "training", problem, step.ratio / self.policy.factor))

    def verdict(self, settings: dict[str, Any]) -> StepsVerdict:
        job = self.job
        wanted = {"forced": job.forced > 0, "free": job.free > 0}
        missing = [kind for kind, due in wanted.items() if due and not self.compared[kind]]
        return StepsVerdict(
            tuple(self.findings),
            tuple(self.crashes),
            tuple(missing),
            self.compared,
            self.ulps,
            tuple(self.steps),
            job.policy,
            {**settings, "forced": job.forced, "free": job.free, "seed": job.seed},
            absolute=tuple(self.absolute),
        )


class _Tally:
    """Sums up one step: how far the float32 runs are from PyTorch's."""

    def __init__(self) -> None:
        self.worst64 = 0.0
        self.loss = math.nan
        self._squares: dict[Run, float] = {}
        self._by_name: dict[tuple[Run, str], float] = {}
        self._norm = 0.0
        self._losses: dict[Run, float] = {}

    def add(self, name: str, arrays: Mapping[Run, Array]) -> None:
        """Take in one tensor."""
        kind = name.split("/", 1)[1]
        base = arrays[REFERENCE, "float32"].astype(np.float64)
        if kind == "loss/total":
            self._losses = {run: float(array.reshape(-1)[0]) for run, array in arrays.items()}
            self.loss = self._losses[TRUTH]
        if not kind.startswith("param/"):
            return
        self._norm += float(np.vdot(base, base))
        for run in ((PORT, "float32"), *TWINS):
            difference = arrays[run] - base
            square = float(np.vdot(difference, difference))
            self._squares[run] = self._squares.get(run, 0.0) + square
            self._by_name[run, kind.removeprefix("param/")] = square

    def distance(self, run: Run) -> float:
        """Return the norm of the difference of all parameters, as a fraction of their norm."""
        return math.sqrt(self._squares.get(run, math.inf) / (self._norm or 1.0))

    def shares(self, run: Run, shown: int = 3) -> str:
        """Say which parameters have the largest shares in the square of a distance."""
        squares = {name: square for (one, name), square in self._by_name.items() if one == run}
        largest = sorted(squares, key=squares.__getitem__, reverse=True)[:shown]
        whole = self._squares[run] or 1.0
        return ", ".join(f"{squares[name] / whole:.0%} are in {name}" for name in largest)

    def loss_distance(self, run: Run) -> float:
        """Return the difference of the total loss as a fraction of it."""
        base = self._losses[REFERENCE, "float32"]
        return abs(self._losses[run] - base) / abs(base)


def mirrored(batch: Batch) -> Batch:
    """Return a batch with every image, its boxes and masks flipped from left to right."""
    boxes = [np.concatenate([1 - b[:, :1], b[:, 1:]], axis=1) for b in batch.boxes]
    images, masks = ([np.ascontiguousarray(one[:, :, ::-1]) for one in part] for part in (batch.images, batch.masks))
    return Batch(images, batch.labels, boxes, masks)


def _prepare(workers: Mapping[Run, Worker]) -> None:
    for worker in workers.values():
        worker.ask("prepare", {})
    for worker in workers.values():
        worker.answer()


def _alike(value: Array, truth: Array) -> tuple[Array, Array]:
    """Give the port's value the truth's shape where Jittor has no array without an axis."""
    return (value.reshape(()) if truth.shape == () and value.shape == (1,) else value), truth
