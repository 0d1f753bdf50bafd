"""Records one framework: the passes of every rung, in the order in which a comparison asks for them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detr_common.errors import InputError
from parity.choices import WANTED
from parity.client import Worker
from parity.frameworks.base import Feed
from parity.frameworks.weights import read_weights, write_weights
from parity.layers import ModelJob
from parity.recording.layout import WEIGHTS, Recording, digest, read_choices, read_recording, write_choices
from parity.rungs import REFERENCE, RUNS, SECOND_TWIN, TRUTH, TWIN, Run
from parity.trace import Array, Manifest, TraceWriter, trace_hash
from parity.training import Progress

_OF_STEPS = ("forced", "free")
RECORDED = ("layers", "losses", "gradients", "steps")


@dataclass(frozen=True)
class RecordJob:
    """What to record.

    Attributes:
        model: what is built and run; of a port, ``weights`` are those of the recording that it follows.
        feeds: what losses and gradients run on, the first, and the steps in turn.
        rungs: those of ``RECORDED`` that are wanted.
        forced: steps on drawn gradients.
        free: steps of training.
        drop: steps after which the schedule moves on, once.
        seed: of drawn gradients and dropout masks.
        rates: learning rates by a part of a parameter's name.
        rules: rules of renaming.
        operations: whether every operation's result is noted in short as well.
    """

    model: ModelJob
    feeds: Sequence[Feed]
    rungs: Sequence[str] = RECORDED
    forced: int = 4
    free: int = 10
    drop: int = 3
    seed: int = 0
    rates: Sequence[tuple[str, float]] = ()
    rules: Mapping[str, str] | None = None
    operations: bool = False


def record(
    job: RecordJob,
    framework: str,
    out: Path,
    start: Callable[[Run], Worker],
    progress: Progress,
    follow: Path | None = None,
) -> Recording:
    """Record one framework.

    Args:
        job: what to record.
        framework: "torch", whose recording comes first, or "jittor".
        out: a new folder.
        start: starts the worker of a run.
        progress: called with a run's label and the number of its tensors received.
        follow: the reference's recording, where the port is recorded.

    Raises:
        InputError: the folder is not empty, or the reference's recording is of another job.
        WorkerError: a worker died.
    """
    check_empty(out)
    reference = None if follow is None else read_recording(follow)
    same = identity_of(job)
    if reference is not None:
        check_follows(reference, same, follow)
    out.mkdir(parents=True, exist_ok=True)
    recorder = _Recorder(job, out, progress, follow)
    runs = [*RUNS, SECOND_TWIN] if job.free and "steps" in job.rungs else list(RUNS)
    for run in (one for one in runs if one[0] == framework):
        with start(run) as worker:
            recorder.record(run, worker)
    recording = Recording(
        framework=framework,
        same=same,
        weights={name: digest(array) for name, array in recorder.weights.items()},
        rates=[[part, rate] for part, rate in job.rates],
        settings=recorder.settings,
        environment=recorder.environment,
        modules=recorder.modules,
        resting=recorder.resting,
        follows="" if reference is None else reference.identity,
        traces={name: trace_hash(out / name) for name in recorder.traces},
        failures=recorder.failures,
        own={name: list(array.shape) for name, array in recorder.weights.items()},
        rules=dict(job.rules or {}),
    )
    recording.write(out)
    return recording


def check_empty(out: Path) -> None:
    """Refuse a folder that holds something, and a file.

    Raises:
        InputError: names it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not an empty folder; name a new one")


def identity_of(job: RecordJob) -> dict[str, Any]:
    """Return what must be the same in the recordings of a comparison."""
    return {
        "rungs": list(job.rungs),
        "forced": job.forced if "steps" in job.rungs else 0,
        "free": job.free if "steps" in job.rungs else 0,
        "drop": job.drop,
        "seed": job.seed,
        "inputs": [{name: digest(array) for name, array in feed.arrays().items()} for feed in job.feeds],
        "forward": {name: digest(array) for name, array in job.model.forward_arrays().items()},
        "loss": job.model.what_is_trained(),
    }


def check_follows(reference: Recording, same: Mapping[str, Any], folder: Path | None) -> None:
    """Refuse to follow what is no recording of the reference, or one of something else.

    Raises:
        InputError: says what differs.
    """
    if reference.framework != REFERENCE or reference.follows:
        raise InputError(f"{folder}: is a recording of {reference.framework}; the port follows one of PyTorch")
    # Fewer rungs can be recorded, to look for one place; a comparison then refuses.
    fewer = set(same["rungs"]) < set(reference.same["rungs"])
    needed = [
        key for key in same if not fewer or key not in ("rungs", *(() if "steps" in same["rungs"] else _OF_STEPS))
    ]
    other = [key for key in needed if reference.same.get(key) != same[key]]
    if other:
        raise InputError(
            f"{folder}: was recorded with other {', '.join(other)}; record the reference again, or the same"
        )


class _Recorder:
    """Writes the passes of one run after another."""

    def __init__(self, job: RecordJob, out: Path, progress: Progress, follow: Path | None) -> None:
        self.job = job
        self.out = out
        self.progress = progress
        self.follow = follow
        self.traces: list[str] = []
        self.failures: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self.modules: list[str] = []
        self.resting: list[str] = []
        self.settings: dict[str, Any] = {}
        self.weights: dict[str, Array] = {}
        self._count = 0

    def record(self, run: Run, worker: Worker) -> None:
        """Record all passes of one run."""
        job, split = self.job, run[1] == "float64"
        job.model.build(run, worker)
        worker.wait_built()
        if not self.modules:
            self.modules, self.resting, self.environment = worker.modules, worker.resting, worker.environment
            self.settings = job.model.settings({(run[0], "float64"): worker})
        # As the models of float32 hold them, before a twin moves them.
        if run[1] == "float32":
            self._export(run, worker)
        feed = job.feeds[0].arrays()
        if run != SECOND_TWIN:
            if "layers" in job.rungs:
                self._pass("layers", run, worker, lambda: job.model.start(worker))
                if job.operations and run[1] == "float64":
                    arrays = job.model.forward_arrays()
                    self._pass("operations", run, worker, lambda: worker.ask("operations", arrays))
            if "losses" in job.rungs:
                self._pass("losses", run, worker, lambda: worker.ask("losses", feed, split=split))
            if "gradients" in job.rungs:
                given = {**feed, **self._choices_of_gradients(run, worker, feed)}
                self._pass("gradients", run, worker, lambda: worker.ask("gradients", given, split=split))
            if "steps" in job.rungs and job.forced and run != TWIN:
                self._steps(run, worker, True)
        if "steps" in job.rungs and job.free:
            job.model.build(run, worker)
            worker.wait_built()
            self._steps(run, worker, False)

    def _export(self, run: Run, worker: Worker) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / WEIGHTS
            worker.ask("export", {}, path=str(path))
            worker.answer()
            self.weights = read_weights(path)
        if run[0] == REFERENCE:
            write_weights(self.out / WEIGHTS, self.weights)

    def _choices_of_gradients(self, run: Run, worker: Worker, feed: Mapping[str, Array]) -> dict[str, Array]:
        if run == TRUTH:
            worker.ask("choose", feed)
            write_choices(self.out, "gradients", worker.answer())
        choices = read_choices(self.follow or self.out, "gradients")
        return choices if run[1] != "float64" else {n: one for n, one in choices.items() if n.startswith(WANTED)}

    def _steps(self, run: Run, worker: Worker, forced: bool) -> None:
        worker.ask("prepare", {})
        worker.answer()
        for number in range(self.job.forced if forced else self.job.free):
            order = {"number": number, "seed": self.job.seed, "forced": forced, "drop": number + 1 == self.job.drop}
            name = f"{'forced' if forced else 'free'}{number}"
            arrays = {} if forced else self.job.feeds[number % len(self.job.feeds)].arrays()
            if not forced and run[1] != "float64":
                arrays |= read_choices(self.follow or self.out, name)
            self._pass(name, run, worker, partial(worker.ask, "step", arrays, **order))
            if run == TRUTH and not forced:
                write_choices(self.out, name, worker.results)
            if worker.failure:
                return

    def _pass(self, name: str, run: Run, worker: Worker, ask: Callable[[], None]) -> None:
        place = f"{name}/{run[1]}"
        ask()
        writer = TraceWriter(self.out / place, Manifest(run[0], run[1], worker.modules, worker.environment, {}))
        for entry in worker.entries():
            writer.add(entry)
            self._count += 1
            self.progress(worker.label, self._count)
        writer.close()
        self.traces.append(place)
        if worker.failure:
            self.failures[place] = worker.failure
