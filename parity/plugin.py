"""The pytest plugin: a fixture ``parity`` that compares ports with workers that live as long as the session.

A test says ``assert parity.compare(port)``. What was compared, and which planted faults were found, is told at the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detr_common.errors import InputError

if TYPE_CHECKING:
    from parity.port.port import Port
    from parity.port.verdict import PortVerdict

_STATE = pytest.StashKey["_State"]()
_BEGUN = pytest.StashKey[float]()
_ROW = "parity"
_LEFT_OUT = {
    "float64": "float64 only: float32 and the steps were not judged",
    "float32": "float32 only, against PyTorch's float64: the port's float64 was not run, where small faults show",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this plugin."""
    group = parser.getgroup("parity", "comparison of ports from PyTorch to Jittor")
    group.addoption("--parity-report", metavar="FILE", help="write the report of the first failing comparison, or else "
                    "of the last, as one page of HTML")  # fmt: skip
    group.addoption("--parity-json", metavar="FILE", help="write what was compared as JSON")
    group.addoption(
        "--parity-dtype",
        choices=("both", "float64", "float32"),
        default="both",
        help="float64 leaves out float32 and the steps; float32 leaves out the port in float64, and judges float32 "
        "against PyTorch's float64",
    )
    group.addoption("--parity-seeds", type=int, default=1, metavar="N", help="compare with N seeds (default 1)")
    # Other plugins have an option of this name; the long one is there in any case.
    device = {
        "choices": ("cpu", "cuda"),
        "default": "cpu",
        "help": "of the float32 runs; float64 stays on the CPU",
    }
    try:
        group.addoption("--parity-device", "--device", dest="parity_device", **device)
    except ValueError:
        group.addoption("--parity-device", dest="parity_device", **device)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that cannot be used, before any test runs."""
    if config.getoption("--parity-seeds") < 1:
        raise pytest.UsageError("--parity-seeds: at least one seed is needed")
    for option in ("--parity-report", "--parity-json"):
        value = config.getoption(option)
        if value and not Path(value).resolve().parent.is_dir():
            raise pytest.UsageError(f"{option} {value}: the folder {Path(value).resolve().parent} does not exist")
    config.stash[_STATE] = _State()
    config.stash[_BEGUN] = time.time()


@pytest.fixture(scope="session")
def _parity_workers(request: pytest.FixtureRequest) -> Iterator[Callable[[], Any]]:
    """Workers that are started when the first comparison needs them, and anew where one was broken off."""
    from parity.port.compare import PortSession

    with ExitStack() as stack:
        started: list[PortSession] = []

        def workers() -> PortSession:
            if started and not started[0].usable:
                stack.close()
                started.clear()
            if not started:
                session = PortSession(dtype=request.config.getoption("--parity-dtype"))
                stack.enter_context(session)
                started.append(session)
            return started[0]

        yield workers


@pytest.fixture
def parity(
    request: pytest.FixtureRequest,
    _parity_workers: Callable[[], Any],
    record_property: Callable[[str, object], None],
) -> Comparer:
    """Compare ports: ``assert parity.compare(port)``; of a planted fault ``parity.must_find(port, rung, module)``."""
    return Comparer(request.node.nodeid, request.config, _parity_workers, record_property)


class Comparer:
    """What the fixture ``parity`` is.

    Args:
        test: its name, for the summary.
        config: with the options.
        workers: returns those of the session.
        record: notes a property of the test, for JUnit.
    """

    def __init__(
        self,
        test: str,
        config: pytest.Config,
        workers: Callable[[], Any],
        record: Callable[[str, object], None],
    ) -> None:
        self._test = test
        self._config = config
        self._workers = workers
        self._record = record

    def compare(self, port: Port, rungs: list[str] | None = None, **options: Any) -> PortVerdict:
        """Compare a model with its port, once for each seed of ``--parity-seeds``.

        Args:
            port: what to compare.
            rungs: see ``parity.compare_models``.
            **options: likewise: ``keep``, ``show``.

        Returns:
            The verdict of the first seed that fails, or of the last.

        Raises:
            InputError: something cannot be used as it was given.
            WorkerError: a worker died.
        """
        verdict = self._compare(port, rungs, options)
        self._note("compared", verdict)
        return verdict

    def compare_models(self, *args: Any, rungs: list[str] | None = None, **options: Any) -> PortVerdict:
        """Compare two models; arguments as of ``parity.Port``."""
        from parity.port.port import Port

        return self.compare(Port(*args, **options), rungs)

    def must_find(self, port: Port, rung: str, module: str, **options: Any) -> PortVerdict:
        """Compare a port in which a fault was planted, and fail unless it is found where it is.

        Args:
            port: the faulty port.
            rung: on which it must be found.
            module: that must be named first, by the reference's name.
            **options: as of ``compare``.

        Returns:
            The verdict.
        """
        verdict = self._compare(port, [rung], options)
        failed = verdict.first_failure
        found = failed is not None and failed.rung == rung and verdict.module == module
        self._note("found" if found else "missed", verdict)
        if not found:
            pytest.fail(f"the fault was to be found by {rung} in {module}: {verdict!r}", pytrace=False)
        return verdict

    def _compare(self, port: Port, rungs: list[str] | None, options: dict[str, Any]) -> PortVerdict:
        verdict, dtype = None, self._config.getoption("--parity-dtype")
        for seed in range(self._config.getoption("--parity-seeds")):
            seeded = port.with_job(
                replace(port.job, seed=port.job.seed + seed, device=self._config.getoption("parity_device"))
            )
            session = None if port.job.reference.live else self._workers()
            verdict = seeded.compare(rungs, session=session, dtype=dtype, **options)
            if not verdict:
                break
        if verdict is None:
            raise InputError("--parity-seeds: nothing was compared")
        return verdict

    def _note(self, outcome: str, verdict: PortVerdict) -> None:
        counts = {one.rung: one.compared for one in verdict.verdicts}
        row = {"test": self._test, "outcome": outcome, "passed": bool(verdict), "compared": counts}
        # A property of the test reaches the process that writes the summary, wherever the test runs.
        self._record(_ROW, json.dumps({**row, "not_asked": verdict.unasked, "verdict": repr(verdict)}))
        state = self._config.stash[_STATE]
        # A fault that was found is what was wanted, and no failure to report.
        if outcome != "found" and (state.worst is None or state.worst):
            state.worst = verdict


@dataclass
class _State:
    """The verdict to report: the first that failed, or the last."""

    worst: PortVerdict | None = None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report; of several processes one that has a failure to show goes before the others."""
    report, worst = session.config.getoption("--parity-report"), session.config.stash[_STATE].worst
    if report and worst is not None and (not worst or not _written_since(Path(report), session.config)):
        worst.write_html(Path(report))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what was compared and how many planted faults were found, and write the JSON that was asked for."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    rows = [json.loads(str(value)) for one in reports for name, value in one.user_properties if name == _ROW]
    report, file = config.getoption("--parity-report"), config.getoption("--parity-json")
    if not rows:
        for option in ("--parity-report", "--parity-json"):
            if config.getoption(option):
                terminalreporter.write_line(f"{option}: nothing was compared, so nothing was written", red=True)
        return
    terminalreporter.section("parity")
    _tell(rows, terminalreporter)
    left_out = _LEFT_OUT.get(config.getoption("--parity-dtype"))
    if left_out:
        terminalreporter.write_line(left_out, yellow=True)
    if report:
        terminalreporter.write_line(f"report: {report}")
    if file:
        Path(file).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf8")
        terminalreporter.write_line(f"JSON: {file}")


def _tell(rows: list[dict[str, Any]], terminalreporter: pytest.TerminalReporter) -> None:
    for row in rows:
        counts = ", ".join(f"{rung} {count}" for rung, count in row["compared"].items())
        known = {"found": "fault found ", "missed": "fault missed"}
        mark = known.get(row["outcome"], "pass        " if row["passed"] else "FAIL        ")
        terminalreporter.write_line(f"{mark}  {row['test']}: {counts}")
    total = sum(sum(row["compared"].values()) for row in rows)
    compared = [row for row in rows if row["outcome"] == "compared"]
    passed = sum(row["passed"] for row in compared)
    terminalreporter.write_line(f"{total} tensors compared; {passed} of {len(compared)} ports pass")
    if len(rows) > len(compared):
        found = sum(row["outcome"] == "found" for row in rows)
        terminalreporter.write_line(f"kill rate: {found} of {len(rows) - len(compared)} planted faults found")


def _written_since(report: Path, config: pytest.Config) -> bool:
    """Whether another process of this session has written the report."""
    return hasattr(config, "workerinput") and report.exists() and report.stat().st_mtime > config.stash[_BEGUN]
