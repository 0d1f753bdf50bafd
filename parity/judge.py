"""Judges a tensor as soon as all runs have sent it, and charges a failure to the module that is at fault.

PyTorch's own float32 error is the larger one of two runs: as it is, and as a twin without oneDNN whose weights are
moved by one ulp. Either is PyTorch, and a single run may by luck be nearly exact on a small tensor.
"""

from __future__ import annotations

import math
import operator
import re
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from parity.capture import RECENT, RECENT_BYTES
from parity.client import Worker
from parity.coverage import idle_modules, module_of
from parity.evidence import Witness, first_only
from parity.frameworks.base import CRITERION
from parity.metrics import Error, Extent, extent, larger, measure, worst_index
from parity.rungs import PORT, REFERENCE, RUNS, TRUTH, TWIN, Run, Rung, foremost
from parity.trace import Array, Entry
from parity.verdict import Judgement, LayersVerdict

Versions = dict[Run, Entry]

# The extent of the truth, the port's float64 error, and the float32 errors of the port and of the reference.
Measured = tuple[Extent | None, Error | None, tuple[Error, Error] | None]


# Of as many calls one is not nearly exact by luck.
_MANY = 4
# So many numbers are as few as one: of the corners of a dozen pairs most are those of targets, which are exact.
_TINY = 64


class Judge:
    """Collects the versions of each tensor and judges a tensor when it has them all."""

    def __init__(self, rung: Rung, runs: tuple[Run, ...] = RUNS, recent: int = RECENT) -> None:
        self._rung = rung
        self._runs = runs
        self._port = foremost(PORT, runs)
        self._exact = rung.exact
        self._calibrated = rung.calibrated
        self._waiting: dict[str, Versions] = {}
        self._judged: dict[str, Judgement] = {}
        self._order: dict[str, int] = {}
        self._constant: list[str] = []
        self._doubled: list[str] = []
        self._recent: deque[tuple[list[Array], Measured]] = deque(maxlen=recent)
        self._arrived: dict[Run, int] = dict.fromkeys(RUNS, 0)
        self._witness = Witness()

    def take(self, run: Run, entry: Entry, place: int | None = None) -> None:
        """Take a tensor from a run, and its place among the tensors of that run; None for the next one."""
        if entry.name in self._judged or run in self._waiting.get(entry.name, {}):
            self._doubled.append(f"{entry.name} in {' '.join(run)}")
            return
        versions = self._waiting.setdefault(entry.name, {})
        versions[run] = entry
        if run == self._port or entry.name not in self._order:
            self._order[entry.name] = self._arrived[run] if place is None else place
        self._arrived[run] += 1
        if (
            run == TRUTH
            and entry.array.dtype.kind == "b"
            and entry.array.size
            and entry.array.min() == entry.array.max()
        ):
            self._constant.append(entry.name)
        if len(versions) == len(self._due(entry.name)):
            del self._waiting[entry.name]
            self._judged[entry.name] = self._judge(versions)

    def _due(self, name: str) -> list[Run]:
        """Return the runs that must have a tensor."""
        return [run for run in self._rung.due(name) if run in self._runs]

    def verdict(self, workers: dict[Run, Worker], settings: dict[str, Any]) -> LayersVerdict:
        """Return the verdict once all tensors are in."""
        called = {
            framework: {module_of(name) for name in self._judged}
            | {
                module_of(name)
                for name, versions in self._waiting.items()
                if any(run[0] == framework for run in versions)
            }
            for framework in (REFERENCE, PORT)
        }
        one_sided = {name: self._one_sided(versions, called) for name, versions in self._waiting.items()}
        judged = self._without_symmetric(self._pooled({**self._judged, **one_sided}))
        speaking = {framework: workers[foremost(framework, self._runs)] for framework in called}
        modules = {
            framework: [name for name in worker.modules if self._rung.covers(name)]
            for framework, worker in speaking.items()
        }
        return LayersVerdict(
            rung=self._rung.name,
            judgements=first_only(judged[name] for name in sorted(judged, key=self._place(judged))),
            idle=idle_modules(modules, called, {framework: worker.resting for framework, worker in speaking.items()}),
            unexercised=self._constant,
            doubled=self._doubled,
            crashes=[f"{worker.label}: {worker.failure}" for worker in workers.values() if worker.failure],
            modules=len(called[REFERENCE] & called[PORT]),
            exact=self._exact,
            calibrated=self._calibrated,
            settings=settings,
        )

    def _place(self, judged: dict[str, Judgement]) -> Callable[[str], tuple[int, bool]]:
        """Order by arrival; a tensor that one side lacks shifts what comes after it, so it goes first among equals."""
        return lambda name: (self._order[name], judged[name].side == "both")

    def _pooled(self, judged: dict[str, Judgement]) -> dict[str, Judgement]:
        """Judge one number or a few by the reference's error over all calls of their kind, of every decoder layer.

        One number may by luck be nearly exact in PyTorch and in its twin; the same loss of six layers is not. Where
        there are few calls, as without auxiliary losses, such numbers of all kinds are taken together.
        """
        kinds: dict[str, list[float]] = {}
        for name, judgement in judged.items():
            if math.prod(judgement.shape) <= _TINY and judgement.floats is not None:
                kinds.setdefault(_kind(name), []).append(judgement.floats[1].relative)

        everything = [error for errors in kinds.values() for error in errors]

        def pool(name: str, judgement: Judgement) -> Judgement:
            if math.prod(judgement.shape) > _TINY or judgement.floats is None:
                return judgement
            port, reference = judgement.floats
            calls = kinds[_kind(name)]
            error = max(calls if len(calls) >= _MANY else everything) * reference.scale
            shared = replace(reference, max_abs=error, rms=error)
            ratio, ratio_max = self._calibrated.ratios(port, shared)
            judgement = replace(judgement, ratio=ratio, ratio_max=ratio_max)
            passes = judgement.error64 is None or self._exact.accepts(judgement.error64)
            if judgement.problems and passes and self._calibrated.accepts(port, shared):
                return replace(judgement, problems=(), worst="")
            return judgement

        if not self._rung.scalars:
            return judged
        return {name: pool(name, judgement) for name, judgement in judged.items()}

    def _without_symmetric(self, judged: dict[str, Judgement]) -> dict[str, Judgement]:
        """Judge absolutely what is zero by symmetry: both values are rounding, and their ratio says nothing.

        Such a gradient is far below what flows into its module and through the modules inside; so must the error be.
        """
        flow: dict[str, float] = {}
        for name, judgement in judged.items():
            if name.startswith("gradout/") and judgement.error64 is not None:
                module = module_of(name)
                while module:
                    flow[module] = max(flow.get(module, 0.0), judgement.error64.scale)
                    module = module.rpartition(".")[0]

        def absolve(judgement: Judgement) -> Judgement:
            error = judgement.error64
            if error is None or len(judgement.problems) != 1 or self._exact.accepts(error):
                return judgement
            floor = self._rung.symmetric * flow.get(module_of(judgement.name), 0.0)
            if max(error.scale, error.max_abs) > floor:
                return judgement
            return replace(judgement, problems=(), worst="", absolute=True)

        return {name: absolve(judgement) for name, judgement in judged.items()}

    def _one_sided(self, versions: Versions, called: dict[str, set[str]]) -> Judgement:
        """Judge a tensor that not all runs have; a module that did not run is the fault of its caller."""
        entry = versions.get(self._port, next(iter(versions.values())))
        absent = [run for run in self._due(entry.name) if run not in versions]
        frameworks = {framework for framework, _ in versions}
        side = "missing" if frameworks == {REFERENCE} else "unexpected" if frameworks == {PORT} else "uneven"
        problem = f"not in {', '.join(' '.join(run) for run in absent)}"
        ran = all(entry.owner in names for names in called.values())
        owner = entry.owner if ran or not entry.caller else entry.caller
        return Judgement(entry.name, owner, entry.source, entry.array.shape, None, None, None, (problem,), side=side)

    def _measure(self, versions: Versions) -> Measured:
        """Measure a tensor, or remember how far it was off if it is the same in every run as one of the last."""
        arrays = [versions[run].array for run in RUNS if run in versions]
        for known, measured in self._recent:
            if len(arrays) == len(known) and all(map(operator.is_, arrays, known)):
                return measured
        measured = _measure(versions)
        # What is passed on comes next, so of large arrays fewer are kept.
        while self._recent and sum(one.nbytes for known, _ in self._recent for one in known) > RECENT_BYTES:
            self._recent.popleft()
        self._recent.append((arrays, measured))
        return measured

    def _judge(self, versions: Versions) -> Judgement:
        truth, port = versions[TRUTH], versions[self._port]
        judgement = Judgement(
            truth.name, port.owner, port.source, truth.array.shape, error64=None, ratio=None, ratio_max=None
        )
        if truth.array.shape == () and self._rung.scalars:
            # Jittor has no array without an axis.
            versions = {run: _without_axis(entry) for run, entry in versions.items()}
            port = versions[self._port]
        for run, version in versions.items():
            problem = _unfit(version.array, run, truth.array)
            if problem:
                return self._blame(replace(judgement, problems=(problem,)), port, truth)
        of_truth, error64, floats = self._measure(versions)
        problems, worst = [], ""
        if of_truth is None and truth.array.dtype.kind == "f":
            problems.append("the reference itself is not finite, so nothing after it can be judged")
        if floats is not None:
            ratio, ratio_max = self._calibrated.ratios(*floats)
            judgement = replace(judgement, ratio=ratio, ratio_max=ratio_max, floats=floats)
            if of_truth is not None and not math.isfinite(floats[1].rms):
                problems.append("PyTorch's own float32 run or its twin is not finite, so float32 cannot be judged")
            elif not self._calibrated.accepts(*floats):
                bound, single = (f(truth.array.size) for f in (self._calibrated.bound, self._calibrated.bound_max))
                problems.append(
                    f"float32 error is {ratio:.3g} (largest element {ratio_max:.3g}) times the reference's own, "
                    f"above {bound:g} ({single:g})"
                )
                worst = _describe_worst(versions[PORT, "float32"].array, truth.array)
        exact = error64 is None or self._exact.accepts(error64)
        if error64 is not None and not exact:
            problems.insert(0, self._exact.complaint(error64))
            worst = _describe_worst(port.array, truth.array)
        judgement = replace(judgement, error64=error64, problems=tuple(problems), worst=worst)
        if not problems:
            return judgement
        dtype = "float32" if exact and (PORT, "float32") in versions else "float64"
        judgement = replace(judgement, evidence=self._witness.evidence(versions, dtype))
        return self._blame(judgement, port, truth)

    def _blame(self, judgement: Judgement, port: Entry, truth: Entry) -> Judgement:
        """Charge a failure to the caller where the module was fed other tensors than in the reference.

        A gradient that is wrong although those of all modules that read the tensor are right is wrong in the code that
        called its module, which reads it as well.
        """
        if port.inputs != truth.inputs and port.caller:
            problem = f"{port.owner} was fed ({port.inputs}), in the reference ({truth.inputs})"
            return replace(judgement, owner=port.caller, problems=(*judgement.problems, problem))
        if port.name.startswith("gradout/") and not port.name.endswith(")"):
            return replace(judgement, owner=port.caller or CRITERION)
        return judgement


def _measure(versions: Versions) -> Measured:
    truth = versions[TRUTH].array
    of_truth = extent(truth)
    errors = {run: measure(version.array, truth, of_truth) for run, version in versions.items() if run != TRUTH}
    floats = None
    if (PORT, "float32") in errors:
        floats = errors[PORT, "float32"], larger(errors[REFERENCE, "float32"], errors[TWIN])
    return of_truth, errors.get((PORT, "float64")), floats


def _unfit(array: Array, run: Run, truth: Array) -> str:
    """Say why an array cannot be compared with the truth: its shape, or a dtype that is not its run's; else nothing."""
    dtype = run[1].split("-")[0]
    floating = array.dtype.kind == "f"
    if array.shape != truth.shape or floating != (truth.dtype.kind == "f") or (floating and array.dtype != dtype):
        due = f"{dtype if truth.dtype.kind == 'f' else truth.dtype} {list(truth.shape)}"
        return f"{' '.join(run)} is {array.dtype} {list(array.shape)}, where {due} is due"
    return ""


def _kind(name: str) -> str:
    """Return a tensor's name without the number of its call or of its decoder layer."""
    return re.sub(r"#\d+|_\d+(?=\]?$)", "", name)


def _without_axis(entry: Entry) -> Entry:
    return replace(entry, array=entry.array.reshape(())) if entry.array.shape == (1,) else entry


def _describe_worst(value: Array, truth: Array) -> str:
    index = worst_index(value, truth)
    return f"at {list(index)}: {value[index]:.9g} instead of {truth[index]:.9g}"
