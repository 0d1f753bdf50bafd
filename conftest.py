"""What every test sees."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest

from parity.layers import LayersSession


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out tests marked ``gpu`` where no NVIDIA driver is to be seen; both frameworks need one."""
    if shutil.which("nvidia-smi"):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no NVIDIA driver on this machine, which both frameworks need"))


# Files of tests that ask the same workers, which should be started once: those of the detector, and those of ports.
TOGETHER = (
    r"tests/(layers/test_(command_line|models_agree|mutants)|training/test_training_(masks|mutants|one_by_one|rungs))\.py",
    r"tests/(port/test_port_(choices|examples|hints|names)|recording/test_(coverage_counting|recordings))\.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give a process of tests one file after another, and those files that ask the same workers as if they were one."""
    from xdist.scheduler import LoadFileScheduling

    if config.getoption("dist") != "loadfile":
        return None

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((files for files in TOGETHER if re.fullmatch(files, file)), file)

    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures that tests have measured, also where they passed."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for figures in [value for report in reports for name, value in report.user_properties if name == "figures"]:
        terminalreporter.write_line(figures)


@pytest.fixture(scope="session")
def coco_photographs() -> list[Path]:
    """Photographs of COCO beside the checkout, if they are there; never part of the project."""
    return sorted((Path(__file__).resolve().parent.parent / "shared" / "coco" / "val2017").glob("*.jpg"))


@pytest.fixture(scope="session")
def detector_workers() -> Iterator[Callable[[], LayersSession]]:
    """Workers with DETR that go on from file to file; started when they are first asked for, anew where one died."""
    with ExitStack() as stack:
        sessions: list[LayersSession] = []

        def workers() -> LayersSession:
            if not sessions or not sessions[-1].usable:
                stack.close()
                sessions.append(stack.enter_context(LayersSession()))
            return sessions[-1]

        yield workers


@pytest.fixture
def in_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, Sequence[object]], subprocess.CompletedProcess[str]]:
    """Run a program of detr_pt in this process: where that takes less than to import PyTorch in one of its own."""
    import torch

    def run(module: str, words: Sequence[object]) -> subprocess.CompletedProcess[str]:
        program = import_module(module)
        # It would go on for the other tests.
        monkeypatch.setattr(program, "keep_freed_memory", lambda: None, raising=False)
        arguments = [str(word) for word in words]
        with torch.random.fork_rng(devices=[]):
            try:
                code = program.main(arguments)
            except SystemExit as end:
                code = end.code
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run
