"""Running the training programs of both frameworks, a process each, from one checkpoint."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from detr_common.coco import build_dataset
from detr_common.errors import InputError
from detr_common.run import LOG, plainly
from parity import demo
from parity.client import Worker, WorkerError
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
        weights: with which all begin; None for the seeded checkpoint of the options.
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


def prepare(job: TrainJob) -> Path:
    """Make the folder of a job, or see that it is the folder of this very job; return the weights to begin with.

    Raises:
        InputError: the data or the options cannot be used, or the folder holds something else.
    """
    for part in ("train", "val"):
        build_dataset(part, plainly(job.args))
    plan = json.dumps({"args": vars(job.args), "weights": str(job.weights or "seeded")}, indent=1, sort_keys=True)
    there = job.out / PLAN
    if there.is_file():
        if there.read_text(encoding="utf8") != plan:
            raise InputError(f"{job.out}: holds runs with other options ({PLAN} lists them); name a new folder")
    elif job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
        raise InputError(f"{job.out}: is not an empty folder; name a new one")
    else:
        job.out.mkdir(parents=True, exist_ok=True)
        there.write_text(plan, encoding="utf8")
    if job.weights:
        return job.weights
    weights = job.out / WEIGHTS
    if not weights.exists():
        demo.write_seeded_checkpoint(job.args, weights)
    return weights


def train_all(job: TrainJob, progress: RunProgress) -> dict[str, Curves]:
    """Train in both frameworks and the twins; runs that were broken off go on, and those that are over are read.

    Raises:
        InputError: see ``prepare``, or a run diverged.
        WorkerError: a run died.
    """
    weights = prepare(job)
    threads = max((os.cpu_count() or 1) // job.jobs, 1)
    with ThreadPoolExecutor(job.jobs) as pool:
        waiting = [pool.submit(_train, job, name, weights, threads, progress) for name in job.names]
        try:
            for one in waiting:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: read_curves(job.out / name) for name in job.names}


def _train(job: TrainJob, name: str, weights: Path, threads: int, progress: RunProgress) -> None:
    framework = PORT if name == PORT else REFERENCE
    folder = job.out / name
    folder.mkdir(exist_ok=True)
    checkpoint = folder / f"checkpoint{SUFFIX[framework]}"
    if checkpoint.exists() and len(_text(folder / LOG).splitlines()) >= job.args.epochs:
        return
    resume = checkpoint if checkpoint.exists() else weights
    args = {**vars(job.args), "output_dir": str(folder), "resume": str(resume)}
    total = job.args.epochs * _steps_an_epoch(job.args)
    with Worker(framework, threads=threads) as worker:
        worker.label = name
        worker.ready()
        worker.ask("train", {}, args=args, twin=int(name.removeprefix("twin")) if name.startswith("twin") else 0)
        done = 0
        for entry in worker.entries():
            epoch, step = (int(part.lstrip("epochst")) for part in entry.name.split("/"))
            done = epoch * (total // job.args.epochs) + step + 1
            progress(name, done, total)
        if worker.failure:
            raise WorkerError(f"{name}: the run failed\n{worker.failure}")
    if done < total:
        raise WorkerError(f"{name}: ended after {done} of {total} steps; the same command goes on")


def _steps_an_epoch(args: argparse.Namespace) -> int:
    return len(build_dataset("train", plainly(args))) // int(args.batch_size)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf8") if path.exists() else ""


def final(values: Sequence[float], last: int = 5) -> float:
    """Return the mean of the last epochs of a curve, which says more than the last alone."""
    tail = list(values)[-last:]
    return sum(tail) / len(tail)
