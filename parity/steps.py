"""The steps rung: optimizers on the same drawn gradients, then whole trainings side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

from parity.client import Worker
from parity.explained import ULPS_APART, VARIANCE, of_rates, of_variance, other_parameters, owner_of
from parity.frameworks.base import Feed
from parity.layers import LayersSession, ModelJob
from parity.metrics import measure, ulps_apart
from parity.moved_by_rounding import MovedByRounding
from parity.policy import ULP32, Calibrated32, Steps
from parity.run_by_run import AskStep, RunByRun, finish, prepare
from parity.rungs import PORT, REFERENCE, SECOND_TWIN, TRUTH, TWIN, TWINS, Run, foremost
from parity.steps_verdict import Finding, FreeStep, StepsVerdict
from parity.tally import Tally
from parity.trace import Array, Entry
from parity.training import Progress, silent
from parity.turns import hear, release_all

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
    run = _Comparison(job, session.sparing)
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


# Bytes of each run that may wait in a forced step.
_AHEAD = 2**25


class _Comparison:
    """Collects the findings of a job."""

    def __init__(self, job: StepsJob, sparing: bool = False) -> None:
        self.job = job
        self.sparing = sparing
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
        # What both had of each running variance when the free steps began; forced steps leave it as it was.
        self._before: dict[str, Array] = {}
        self._rounding = MovedByRounding()
        self._run = ""

    def _find(self, name: str, owner: str, problem: str, excess: float) -> None:
        self.findings.append(Finding(name, owner, problem, excess, self._run))

    def forced(self, workers: Mapping[Run, Worker], progress: Progress) -> None:
        """Take steps on drawn gradients."""
        self._run = "forced"
        if self.sparing:
            release_all(workers)
        prepare(workers)
        for number in range(self.job.forced):
            for versions in self._step(workers, number, True, progress):
                self._judge_forced(versions, number + 1)
            if self.crashes:
                break
        # Else they would have it still while the models of the free steps are built.
        finish(workers, self.sparing)

    def free(self, workers: Mapping[Run, Worker], progress: Progress) -> None:
        """Take steps on each side's own gradients."""
        self._run = "free"
        prepare(workers)
        asking, count = self._asking(workers, False), 1 if self.crashes else self.job.free
        with RunByRun(workers, count, asking, progress) if self.sparing else nullcontext() as alone:
            for number in range(count):
                tally = Tally()
                for versions in self._step(workers, number, False, progress, alone):
                    self._judge_free(versions, tally)
                if self.crashes:
                    return
                self._judge_envelope(number, tally)

    def _asking(self, workers: Mapping[Run, Worker], forced: bool) -> AskStep:
        job = self.job

        def ask(run: Run, number: int, choices: Mapping[str, Array]) -> None:
            arrays = {} if forced else job.batches[number % len(job.batches)].arrays()
            order = {"number": number, "seed": job.seed, "forced": forced, "drop": number + 1 == job.drop}
            workers[run].ask("step", {**arrays, **choices}, **order)

        return ask

    def _step(
        self,
        workers: Mapping[Run, Worker],
        number: int,
        forced: bool,
        progress: Progress,
        alone: RunByRun | None = None,
    ) -> Iterator[Versions]:
        """Have all workers take a step; yield what all have, and note what only some have."""
        asking = self._asking(workers, forced)

        def ask(run: Run) -> None:
            asking(run, number, {} if forced or run[1] == "float64" else workers[TRUTH].results)

        waiting: dict[str, Versions] = {}
        # In a forced step nothing is kept for gradients, so that all take it at once, however large the batch.
        first, ahead = (None, _AHEAD) if forced else (TRUTH, None)
        heard = alone.step(number) if alone else hear(workers, ask, progress, first=first, ahead=ahead)
        for run, entry, _ in heard:
            versions = waiting.setdefault(entry.name, {})
            versions[run] = entry
            if len(versions) == len(workers):
                yield waiting.pop(entry.name)
        failed = {worker.label: worker.failure for worker in workers.values() if worker.failure}
        self.crashes += [f"{who}: {what}" for who, what in (alone.failures(number) if alone else failed).items()]
        for name, versions in waiting.items():
            absent = ", ".join(" ".join(run) for run in workers if run not in versions)
            self._find(name, next(iter(versions.values())).owner, f"not in {absent}", math.inf)

    def _judge_forced(self, versions: Versions, steps: int) -> None:
        self.compared["forced"] += 1
        if versions[TRUTH].name.endswith(VARIANCE):
            self._before[_label(versions[TRUTH].name)] = versions[TRUTH].array
        if versions[TRUTH].name.endswith("/norm"):
            self._judge_norms(versions)
            return
        for dtype, (port, reference) in PAIRS.items():
            if port not in versions:
                continue
            value, truth = _alike(versions[port].array, versions[reference].array)
            entry = versions[port]
            kind = entry.name.split("/")[1]
            apart = ulps_apart(value, truth)
            allowed = self.policy.allowed_ulps(dtype, steps)
            self.ulps[dtype][kind] = max(self.ulps[dtype].get(kind, 0.0), apart / steps)
            if apart > allowed:
                problem = of_rates(entry.name, value, truth) or f"{apart:.3g} {ULPS_APART}, above {allowed:g}"
                self._find(entry.name, entry.owner, f"{dtype}: {problem}", apart / allowed)

    def _judge_norms(self, versions: Versions) -> None:
        """Judge norms, which both sum up in an order of their own, and which float32 sums up in rounding errors."""
        truth, entry = versions[TRUTH].array, versions[foremost(PORT, versions)]
        if self._other_parameters(versions):
            return
        reference, port = (measure(versions[side, "float32"].array, truth) for side in (REFERENCE, PORT))
        self.ulps["float32"]["norm"] = max(self.ulps["float32"].get("norm", 0.0), port.relative / ULP32)
        exact = measure(entry.array, truth)
        in_float64 = (PORT, "float64") in versions
        if in_float64:
            self.ulps["float64"]["norm"] = max(self.ulps["float64"].get("norm", 0.0), exact.relative / 2.0**-53)
        if in_float64 and exact.relative > self.policy.norm:
            problem = f"float64 error is {exact.relative:.3g} of the norm, above {self.policy.norm:g}"
            self._find(entry.name, entry.owner, problem, exact.relative / self.policy.norm)
        elif not Calibrated32(factor_max=self.policy.factor).accepts(port, reference):
            ratio, _ = Calibrated32().ratios(port, reference)
            problem = f"float32 error is {ratio:.3g} times the reference's own, above {self.policy.factor:g}"
            self._find(entry.name, entry.owner, problem, ratio / self.policy.factor)

    def _other_parameters(self, versions: Versions) -> bool:
        """Note which parameters take a gradient on one side only, where norms are compared; tell whether any does."""
        port = versions[foremost(PORT, versions)]
        problem = other_parameters(port, versions[TRUTH])
        if problem:
            self._find(port.name, port.owner, problem, math.inf)
        return bool(problem)

    def _judge_free(self, versions: Versions, tally: Tally) -> None:
        self.compared["free"] += 1
        if versions[TRUTH].name.endswith("/norm") and self._other_parameters(versions):
            return
        if (PORT, "float64") in versions:
            self._rounding.note(versions[PORT, "float64"], versions[TRUTH])
            self._judge_exactly(versions[PORT, "float64"], versions[TRUTH].array, tally)
        tally.add(versions[TRUTH].name, {run: version.array for run, version in versions.items()})

    def _judge_exactly(self, entry: Entry, truth: Array, tally: Tally) -> None:
        """Judge a tensor of the port's float64 run."""
        value, truth = _alike(entry.array, truth)
        error = self._relative(entry.name, value, truth) if value.shape == truth.shape else math.inf
        if error > self.policy.bound and self._rounding.explains(entry.name, value, truth):
            self.absolute.setdefault(_label(entry.name), None)
            return
        tally.worst64 = max(tally.worst64 or 0.0, error)
        if error > self.policy.bound:
            problem = f"float64 error is {error:.3g} of the scale, above {self.policy.bound:g}"
            # In later steps what was there before is no longer the same on both sides.
            if entry.name.startswith("step0/") and entry.name.endswith(VARIANCE):
                problem += of_variance(value, truth, self._before.get(_label(entry.name)))
            self._find(entry.name, owner_of(entry.name, entry.owner), problem, error / self.policy.bound)

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

    def _judge_envelope(self, number: int, tally: Tally) -> None:
        """Judge the distance of the float32 runs, which must look like that of the twins."""
        floor = self.policy.floor_ulps * ULP32
        self.envelope = max(self.envelope, floor, *(tally.distance(run) for run in TWINS))
        self.loss_envelope = max(self.loss_envelope, floor, *(tally.loss_distance(run) for run in TWINS))
        port = (PORT, "float32")
        far, loss_far = tally.distance(port), tally.loss_distance(port)
        step = FreeStep(number, tally.loss, tally.worst64, far, self.envelope, loss_far, self.loss_envelope)
        self.steps.append(step)
        if not math.isfinite(self.envelope):  # beside which everything would be near
            problem = "a float32 twin of PyTorch's is not finite, so the float32 parameters cannot be judged"
            self._find(f"step{number}", "training", problem, math.inf)
        elif not step.ratio <= self.policy.factor:  # what is not a number is not larger than anything
            self._find(f"step{number}", "training", tally.told(port, step.ratio), step.ratio / self.policy.factor)

    def verdict(self, settings: dict[str, Any]) -> StepsVerdict:
        wanted = {"forced": self.job.forced > 0, "free": self.job.free > 0}
        missing = [kind for kind, due in wanted.items() if due and not self.compared[kind]]
        return StepsVerdict(
            tuple(self.findings),
            tuple(self.crashes),
            tuple(missing),
            self.compared,
            self.ulps,
            tuple(self.steps),
            self.job.policy,
            {**settings, "forced": self.job.forced, "free": self.job.free, "seed": self.job.seed},
            absolute=tuple(self.absolute),
        )


def _label(name: str) -> str:
    """Return a name of the steps without its step."""
    return name.split("/", 1)[1]


def _alike(value: Array, truth: Array) -> tuple[Array, Array]:
    """Give the port's value the truth's shape where Jittor has no array without an axis."""
    return (value.reshape(()) if truth.shape == () and value.shape == (1,) else value), truth
