"""Several seeds in both frameworks, and a test of whether they end at the same place."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detr_common.errors import InputError
from parity.output import plain
from parity.runs.curves import PORT, REFERENCE, Curves
from parity.runs.equivalence import Equivalence, equivalence
from parity.runs.training import RunProgress, TrainJob, prepare, train_all

MARGINS = "margins.json"
RESULT = "converge.json"
TWIN = "twin1"


@dataclass(frozen=True)
class ConvergeJob:
    """What to train.

    Attributes:
        args: options of the training programs; each run has a seed of its own, from theirs on.
        out: folder of all runs.
        seeds: how many.
        margin_ap: difference of the final AP that counts as none.
        margin_loss: difference of the final loss that counts as none, as a fraction of PyTorch's.
        jobs: runs at a time.
    """

    args: argparse.Namespace
    out: Path
    seeds: int
    margin_ap: float
    margin_loss: float
    jobs: int = 1


@dataclass(frozen=True)
class ConvergeVerdict:
    """What was found.

    Attributes:
        ends: by seed and run, final loss and AP on the photographs for training and for validation.
        tests: Jittor against PyTorch.
        beside: PyTorch's twin against PyTorch, with the same margins.
    """

    ends: dict[int, dict[str, dict[str, float]]]
    tests: tuple[Equivalence, ...]
    beside: tuple[Equivalence, ...]

    def __bool__(self) -> bool:
        return bool(self.tests) and all(self.tests)

    def lines(self) -> list[str]:
        """Return the tests, a line each."""
        lines = [f"{'✓ PASS' if self else '✗ FAIL'}  convergence: {len(self.ends)} seeds"]
        for who, tests in (("Jittor", self.tests), ("PyTorch's twin", self.beside)):
            for test in tests:
                low, high = test.interval
                lines.append(
                    f"  {'✓' if test else '✗'} {who} against PyTorch, {test.what}: mean difference {test.mean:+.4f}, "
                    f"{1 - 2 * test.level:.0%} interval [{low:+.4f}, {high:+.4f}], margin ±{test.margin:g}, "
                    f"p = {test.p:.3g}"
                )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""

        def told(test: Equivalence) -> dict[str, Any]:
            names = ("what", "margin", "differences", "p", "level", "mean", "interval")
            return {name: getattr(test, name) for name in names} | {"equivalent": bool(test)}

        return {
            "passed": bool(self),
            "ends": {str(seed): ends for seed, ends in self.ends.items()},
            "jittor_against_pytorch": [told(test) for test in self.tests],
            "twin_against_pytorch": [told(test) for test in self.beside],
        }


def converge(job: ConvergeJob, progress: RunProgress) -> ConvergeVerdict:
    """Train from every seed in PyTorch, in Jittor and in a twin of PyTorch, and test the ends.

    Raises:
        InputError: the folder holds runs with other margins, or see ``parity.runs.training.train_all``.
        WorkerError: a run died.
    """
    _write_margins(job)
    ends: dict[int, dict[str, dict[str, float]]] = {}
    for seed in range(job.args.seed, job.args.seed + job.seeds):
        args = argparse.Namespace(**{**vars(job.args), "seed": seed})
        one = TrainJob(args, job.out / f"seed{seed}", None, 1, job.jobs)
        runs = train_all(one, prepare(one), partial(_named, progress, f"seed {seed} "))
        ends[seed] = {name: end_of(run) for name, run in runs.items()}
    verdict = ConvergeVerdict(ends, _tests(job, ends, PORT), _tests(job, ends, TWIN))
    (job.out / RESULT).write_text(json.dumps(plain(verdict.as_dict()), indent=1), encoding="utf8")
    return verdict


def _named(progress: RunProgress, prefix: str, run: str, done: int, total: int) -> None:
    progress(prefix + run, done, total)


def end_of(run: Curves) -> dict[str, float]:
    """Return what a run ends with.

    Raises:
        InputError: it was never evaluated.
    """
    ends = run.ends()
    if not {"ap_train", "ap_val"} <= set(ends):
        raise InputError("a run was never evaluated; --eval_every 0 leaves nothing to test")
    return ends


def _tests(job: ConvergeJob, ends: dict[int, dict[str, dict[str, float]]], name: str) -> tuple[Equivalence, ...]:
    def of(run: str, key: str) -> list[float]:
        return [ends[seed][run][key] for seed in ends]

    relative = [value / base for value, base in zip(of(name, "loss"), of(REFERENCE, "loss"), strict=True)]
    return (
        equivalence("AP on the training photographs", of(name, "ap_train"), of(REFERENCE, "ap_train"), job.margin_ap),
        equivalence("final loss, as a fraction", relative, [1.0] * len(relative), job.margin_loss),
    )


def _write_margins(job: ConvergeJob) -> None:
    """Write the margins down before the first run; later they may not be others."""
    text = json.dumps({"margin_ap": job.margin_ap, "margin_loss": job.margin_loss, "seeds": job.seeds}, indent=1)
    path = job.out / MARGINS
    if path.is_file():
        if path.read_text(encoding="utf8") != text:
            raise InputError(f"{path}: other margins or seeds were chosen before the runs; name a new folder")
        return
    if job.margin_ap <= 0 or job.margin_loss <= 0:
        raise InputError("--margin-ap and --margin-loss: give positive numbers")
    if job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
        raise InputError(f"{job.out}: is not an empty folder; name a new one")
    job.out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf8")
