"""How long the project's own tests take, by rung: the time of the suite as ``make test`` runs it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from detr_common.errors import InputError
from parity.bench.figures import Cost, Figure, Job, Measurement, Progress
from parity.process import WorkerError

ROOT = Path(__file__).resolve().parents[2]
# As `make test` has it: files at a time.
_FILES = 3
_PLUGINS = {"pytest": "pytest", "xdist": "pytest-xdist"}
# The exit codes of pytest with which tests were run to the end.
_RAN = (0, 1)


def suite(_: Job, root: Path = ROOT) -> Measurement:
    """Prepare to measure the tests below a folder.

    Args:
        root: the folder that holds ``tests``.

    Raises:
        InputError: there are none, or pytest is not installed.
    """
    if not (root / "tests").is_dir():
        raise InputError(f"--also suite: {root} has no folder tests; run it in a checkout of the project")
    for module, package in _PLUGINS.items():
        if importlib.util.find_spec(module) is None:
            raise InputError(f"--also suite: {package} is not installed; pip install {package}")

    def measure(progress: Progress) -> Cost:
        progress("suite: all tests that are not slow, some minutes")
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "junit.xml"
            seconds = _run(root, report)
            figures = {"all of it": Figure(seconds, "s")} | read_report(report)
        return Cost(
            "suite", f"{_FILES} files of tests at a time; seconds of a folder are those of all its tests", figures
        )

    return measure


def _run(root: Path, report: Path) -> float:
    """Run the tests, have the report written, and return the seconds that it took.

    Raises:
        WorkerError: they did not run to the end.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(_FILES), "--dist", "loadfile", "-m", "not slow"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, f"--junitxml={report}", "tests"],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode not in _RAN:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
        raise WorkerError(f"suite: pytest ended with code {done.returncode}. It last said:\n{said}")
    return time.perf_counter() - start


def read_report(path: Path) -> dict[str, Figure]:
    """Sum a report of pytest in JUnit's format.

    Args:
        path: the file.

    Returns:
        How many ``tests`` there were and how many ``failed``, and the seconds of the tests of each folder of tests/,
        fixtures included, the slowest folder first.

    Raises:
        WorkerError: the report cannot be read.
    """
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        raise WorkerError(f"suite: the report of pytest cannot be read ({error})") from None
    seconds: dict[str, float] = defaultdict(float)
    for case in cases:
        seconds[folder_of(case.get("classname", ""))] += float(case.get("time", 0))
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    slowest = sorted(seconds.items(), key=lambda item: -item[1])
    return {
        "tests": Figure(len(cases), "tests"),
        "failed": Figure(failed, "tests"),
        **{f"tests/{folder}": Figure(total, "s") for folder, total in slowest},
    }


def folder_of(name: str) -> str:
    """Return the folder of tests/ that a test of ``tests.FOLDER.FILE`` is in; a file of tests/ itself is its own."""
    parts = name.split(".")
    return parts[1] if parts[0] == "tests" and len(parts) > 1 else parts[0]
