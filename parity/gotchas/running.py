"""Runs lines in processes of their own; a process that ends or hangs is what its line did, not a failure here."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from parity.gotchas.entry import Gotcha
from parity.gotchas.runner import READY
from parity.gotchas.values import Outcome

# Seconds in which a process must say that it is ready: where Jittor's core has to be compiled, minutes.
START_LIMIT = 1800.0
# Seconds that a line may take. Compiling kernels for the first time takes most of them.
LINE_LIMIT = 900.0
# Seconds between two looks at whether the process still lives, while it says nothing.
_LOOK = 1.0
_LAST_WORDS = 2000


class NotStarted(RuntimeError):
    """A process ended, or hung, before it could run a line.

    Attributes:
        reason: how it ended, in words.
        last_line: the last line that it wrote.
    """

    def __init__(self, framework: str, reason: str, words: str) -> None:
        super().__init__(f"the {framework} process {reason}:\n{words}")
        self.reason = reason
        self.last_line = next((line.strip() for line in reversed(words.splitlines()) if line.strip()), "")


@dataclass(frozen=True)
class Side:
    """An interpreter that runs lines.

    Attributes:
        python: its path.
        environment: the environment of its processes; this process's own where None.
        folder: where they run, which is the first place where Python looks for modules; here where None.
        start_limit: seconds in which a process must be ready.
        line_limit: seconds that a line may take before it counts as hung.
    """

    python: str = sys.executable
    environment: Mapping[str, str] | None = None
    folder: str | None = None
    start_limit: float = START_LIMIT
    line_limit: float = LINE_LIMIT


@dataclass(frozen=True)
class Job:
    """A line of an entry.

    Attributes:
        entry: the entry.
        name: the line's: ``torch``, ``naive`` or ``correct``.
    """

    entry: Gotcha
    name: str

    @property
    def key(self) -> tuple[str, str]:
        """The entry's name and the line's."""
        return self.entry.id, self.name

    @property
    def framework(self) -> str:
        """What the runner is to import for it."""
        return "none" if self.entry.alone else "torch" if self.name == "torch" else "jittor"

    @property
    def request(self) -> dict[str, object]:
        """What the runner is sent."""
        return {"inputs": self.entry.inputs, "line": self.entry.lines[self.name], "seed": self.entry.seed}


def run_jobs(jobs: Sequence[Job], side: Side) -> dict[tuple[str, str], Outcome]:
    """Run lines in as few processes as may be.

    PyTorch's lines share one process and Jittor's another. Naive lines that may corrupt memory have one for themselves,
    and so has each line of an entry that asks for it. Where a line ends its process, the rest goes on in another.

    Raises:
        NotStarted: a process did not come so far that it could run a line.
    """
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        hazardous = "hazardous" if job.entry.hazardous and job.name == "naive" else ""
        groups.setdefault(job.key if job.entry.alone else (job.framework, hazardous), []).append(job)
    results = {}
    for group in groups.values():
        while group:
            outcomes = _run_until_it_ends(group, side)
            results.update({job.key: outcome for job, outcome in zip(group, outcomes, strict=False)})
            group = group[len(outcomes) :]
    return results


def _run_until_it_ends(jobs: Sequence[Job], side: Side) -> list[Outcome]:
    """Run jobs in one process; where one of them ends it or hangs, that outcome is the last."""
    framework = jobs[0].framework
    environment = dict(os.environ if side.environment is None else side.environment)
    with tempfile.TemporaryFile("w+") as requests, tempfile.TemporaryFile("w+", errors="replace") as words:
        json.dump([job.request for job in jobs], requests)
        requests.seek(0)
        process = subprocess.Popen(
            [side.python, "-m", "parity.gotchas.runner", framework],
            stdin=requests,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            cwd=side.folder,
            env=environment | {"PYTHONFAULTHANDLER": ""},
            start_new_session=True,
        )
        answers = _Answers(process)
        try:
            greeting = answers.next(side.start_limit)
            if greeting != READY:
                reason = f"was {_hung(side.start_limit)}" if process.poll() is None else f"ended with {_ended(process)}"
                raise NotStarted(framework, reason, _end_of(words))
            outcomes: list[Outcome] = []
            while len(outcomes) < len(jobs):
                line = answers.next(side.line_limit)
                if line is not None:
                    outcomes.append(Outcome(**json.loads(line)))
                    continue
                hung = process.poll() is None
                outcomes.append(
                    Outcome("hung", detail=_hung(side.line_limit)) if hung else Outcome("died", detail=_ended(process))
                )
                break
            else:
                # Its exit is no line's outcome, but what it still writes belongs to it.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
            return outcomes
        finally:
            _kill(process)
            answers.close()


class _Answers:
    """The lines of a process's output, each waited for a limited time.

    Children of the process may hold its output open after it has ended, so the end of the output is no sign of its end.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.put(line.rstrip("\n"))

    def close(self) -> None:
        """Wait until the output is closed, which it is when the process and its children are gone."""
        self._reader.join(_LOOK)

    def next(self, limit: float) -> str | None:
        """Return the next line; None where the process ended without one, or let the limit pass."""
        deadline = time.monotonic() + limit
        while (left := deadline - time.monotonic()) > 0:
            ended = self._process.poll() is not None
            if ended:
                self._reader.join(_LOOK)
            try:
                return self._lines.get(timeout=0.01 if ended else min(_LOOK, left))
            except queue.Empty:
                if ended:
                    return None
        return None


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process with its children, of which some outlive it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_of(words: IO[str]) -> str:
    words.seek(0)
    return words.read()[-_LAST_WORDS:]


def _hung(limit: float) -> str:
    return f"stopped after {limit:g} s"


def _ended(process: subprocess.Popen[str]) -> str:
    code = process.returncode
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
