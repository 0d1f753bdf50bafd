"""Running the training programs of both frameworks, a process each, from one checkpoint."""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import weight_convert
from detr_common.coco import build_dataset
from detr_common.errors import InputError
from detr_common.logs import LOG
from detr_common.run import plainly
from detr_common.state import check_names_and_shapes
from fixtures.initial import initial_state_dict
from fixtures.shapes import DETECTOR
from parity.client import Worker
from parity.process import WorkerError
from parity.runs.curves import PORT, REFERENCE, Curves, read_curves

PLAN = "plan.json"
WEIGHTS = "weights.pkl"
SUFFIX = {REFERENCE: ".pth", PORT: ".pkl"}

# Called with the name of a run, its steps so far and all that it will take.
RunProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TrainJob:
    """What to train.

    Attributes:
        args: options of the training programs.
        out: folder of all runs.
        weights: with which all begin; None for those of ``fixtures.initial_state_dict``.
        twins: runs of PyTorch from weights that are moved by one ulp.
        jobs: runs at a time; each computes with an equal share of the processors.
    """

    args: argparse.Namespace
    out: Path
    weights: Path | None = None
    twins: int = 2
    jobs: int = 1

    @property
    def names(self) -> list[str]:
        """The runs: each framework and the twins."""
        return [REFERENCE, PORT, *(f"twin{number}" for number in range(1, self.twins + 1))]


@dataclass(frozen=True)
class Start:
    """What all runs of a job have in common.

    Attributes:
        weights: with which they begin.
        steps: in an epoch.
    """

    weights: Path
    steps: int


def prepare(job: TrainJob) -> Start:
    """Make the folder of a job, or see that it is the folder of this very job.

    Raises:
        InputError: the data or the options cannot be used, or the folder holds something else.
    """
    build_dataset("val", plainly(job.args))
    steps = len(build_dataset("train", plainly(job.args))) // int(job.args.batch_size)
    plan = json.dumps({"args": vars(job.args), "weights": str(job.weights or "initial")}, indent=1, sort_keys=True)
    there = job.out / PLAN
    if there.is_file():
        if there.read_text(encoding="utf8") != plan:
            raise InputError(f"{job.out}: holds runs with other options ({PLAN} lists them); name a new folder")
    elif job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
        raise InputError(f"{job.out}: is not an empty folder; name a new one")
    else:
        job.out.mkdir(parents=True, exist_ok=True)
        there.write_text(plan, encoding="utf8")
    weights = job.weights or job.out / WEIGHTS
    if not job.weights and not weights.exists():
        weight_convert.write({"model": _initial(job.args)}, weights)
    return Start(weights, steps)


def _initial(args: argparse.Namespace) -> dict[str, Any]:
    """Return the weights with which runs begin: drawn, but for a detector that is frozen.

    Raises:
        InputError: the frozen detector cannot be read or is another one.
    """
    state: dict[str, Any] = dict(initial_state_dict(args, args.seed))
    if args.frozen_weights:
        names = [name for name in state if name.startswith(DETECTOR)]
        sizes = {name.removeprefix(DETECTOR): tuple(state[name].shape) for name in names}
        frozen = check_names_and_shapes(weight_convert.read_state_dict(args.frozen_weights), sizes, args.frozen_weights)
        state |= {name: frozen[name.removeprefix(DETECTOR)] for name in names}
    return state


def train_all(job: TrainJob, start: Start, progress: RunProgress) -> dict[str, Curves]:
    """Train in both frameworks and the twins; runs that were broken off go on, and those that are over are read.

    Args:
        job: what to train.
        start: what ``prepare`` returned for it.
        progress: told of the runs.

    Raises:
        InputError: the options or the weights cannot be used, or a run diverged.
        WorkerError: a run died. The others are broken off, here and at an interrupt.
    """
    threads, running = max(processors() // job.jobs, 1), _Running()
    with ThreadPoolExecutor(job.jobs) as pool:
        waiting = [pool.submit(_train, job, name, start, threads, progress, running) for name in job.names]
        try:
            for one in as_completed(waiting):
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            running.end()
            raise
    return {name: read_curves(job.out / name) for name in job.names}


class _Running:
    """The workers that train, which are not waited for when something ends them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._over = False

    def add(self, worker: Worker) -> None:
        """Note one, which ends at once if the others have."""
        with self._lock:
            self._workers.append(worker)
            if self._over:
                worker.kill()

    def end(self) -> None:
        """End all, now and to come."""
        with self._lock:
            self._over = True
            for worker in self._workers:
                worker.kill()


def processors() -> int:
    """Return how many processors this process may use, which may be fewer than the machine has."""
    allowed = getattr(os, "sched_getaffinity", None)  # of Linux
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _train(job: TrainJob, name: str, start: Start, threads: int, progress: RunProgress, running: _Running) -> None:
    framework = PORT if name == PORT else REFERENCE
    folder = job.out / name
    folder.mkdir(exist_ok=True)
    checkpoint = folder / f"checkpoint{SUFFIX[framework]}"
    log = folder / LOG
    if checkpoint.exists() and log.exists() and len(log.read_bytes().splitlines()) >= job.args.epochs:
        return
    resume = checkpoint if checkpoint.exists() else start.weights
    args = {**vars(job.args), "output_dir": str(folder), "resume": str(resume)}
    total = job.args.epochs * start.steps
    with Worker(framework, threads=threads) as worker:
        running.add(worker)
        worker.label = name
        worker.ready()
        worker.ask("train", {}, args=args, twin=int(name.removeprefix("twin")) if name.startswith("twin") else 0)
        done = 0
        for entry in worker.entries():
            epoch, step = entry.array
            done = int(epoch) * start.steps + int(step) + 1
            progress(name, done, total)
        if worker.failure:
            raise WorkerError(f"{name}: the run failed\n{worker.failure}")
    if done < total:
        raise WorkerError(f"{name}: ended after {done} of {total} steps; the same command goes on")
