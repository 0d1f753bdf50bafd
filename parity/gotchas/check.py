"""Runs the lines of entries and judges whether each entry is true of the installed versions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from parity.gotchas.entry import Gotcha, Relation
from parity.gotchas.runner import READY
from parity.gotchas.values import Outcome, distance

# Seconds in which all lines of one process must have run; compiling kernels for the first time takes most of them.
TIMEOUT = 900


@dataclass(frozen=True)
class Finding:
    """Whether an entry is true of the installed versions.

    Attributes:
        entry: the entry.
        outcomes: what became of each of its lines.
        faults: what is not as the entry says; empty where all is.
    """

    entry: Gotcha
    outcomes: dict[str, Outcome]
    faults: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.faults


@dataclass(frozen=True)
class _Job:
    entry: Gotcha
    name: str

    @property
    def request(self) -> dict[str, object]:
        return {"inputs": self.entry.inputs, "line": self.entry.lines[self.name], "seed": self.entry.seed}


def check(entries: Sequence[Gotcha]) -> list[Finding]:
    """Run the lines of all entries that have some, and judge each entry.

    PyTorch and Jittor run in processes of their own; so do naive lines that may corrupt memory, and each line of an
    entry that asks for it.

    Raises:
        RuntimeError: a process did not start or did not end in time.
    """
    groups: dict[str, list[_Job]] = {"torch": [], "jittor": [], "hazardous": []}
    results: dict[tuple[str, str], Outcome] = {}
    for entry in entries:
        for name in entry.lines:
            job = _Job(entry, name)
            if entry.alone:
                results |= _run("none", [job])
            elif name == "torch":
                groups["torch"].append(job)
            else:
                groups["hazardous" if entry.hazardous and name == "naive" else "jittor"].append(job)
    for group, jobs in groups.items():
        results |= _run("torch" if group == "torch" else "jittor", jobs)
    return [
        judge(entry, {name: results[entry.id, name] for name in entry.lines}) for entry in entries if not entry.not_run
    ]


def judge(entry: Gotcha, outcomes: dict[str, Outcome]) -> Finding:
    """Compare what the lines gave with what the entry says of them."""
    truth, naive = outcomes["torch"], outcomes["naive"]
    faults = []
    if truth.kind == "died":
        faults.append(f"the PyTorch line died: {truth.detail}")
    away = _apart(naive, truth)
    match entry.relation:
        case Relation.RAISES if naive.exception != entry.error:
            faults.append(f"the naive line was to raise {entry.error}; it {_told(naive)}")
        case Relation.DIES if naive.kind != "died":
            faults.append(f"the naive line was to end its process; it {_told(naive)}")
        case Relation.AGREES if away > entry.bound:
            faults.append(f"the naive line is said to agree; it is {away:.2g} apart: it {_told(naive)}")
        case Relation.DIFFERS if naive.kind != "value":
            faults.append(f"the naive line was to give a value; it {_told(naive)}")
        case Relation.DIFFERS if away <= (entry.apart or entry.bound):
            faults.append(f"the naive line agrees with PyTorch, to {away:.2g}")
    if "correct" in outcomes:
        away = _apart(outcomes["correct"], truth)
        if away > entry.bound:
            faults.append(
                f"the correct line is {away:.2g} apart, above {entry.bound:.2g}: it {_told(outcomes['correct'])}"
            )
    return Finding(entry, outcomes, tuple(faults))


def _apart(outcome: Outcome, truth: Outcome) -> float:
    if outcome.kind != truth.kind:
        return float("inf")
    return distance(outcome.value, truth.value) if outcome.kind == "value" else 0.0


def _told(outcome: Outcome) -> str:
    return f"gave {str(outcome.value)[:200]}" if outcome.kind == "value" else f"{outcome.kind} ({outcome.detail[:300]})"


def _run(framework: str, jobs: list[_Job]) -> dict[tuple[str, str], Outcome]:
    """Run jobs in one process; where one of them ends it, the rest in another."""
    results: dict[tuple[str, str], Outcome] = {}
    while jobs:
        process = subprocess.run(
            [sys.executable, "-m", "parity.gotchas.runner", framework],
            input=json.dumps([job.request for job in jobs]),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env=os.environ | {"PYTHONFAULTHANDLER": "0"},
            check=False,
        )
        greeting, *lines = process.stdout.splitlines() or [""]
        if greeting != READY:
            raise RuntimeError(f"the {framework} process ended with {_ended(process)}:\n{process.stderr[-2000:]}")
        answers = [Outcome(**json.loads(line)) for line in lines]
        if len(answers) < len(jobs):
            answers.append(Outcome("died", detail=_ended(process)))
        for job, outcome in zip(jobs, answers, strict=False):
            results[job.entry.id, job.name] = outcome
        jobs = jobs[len(answers) :]
    return results


def _ended(process: subprocess.CompletedProcess[str]) -> str:
    code = process.returncode
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
