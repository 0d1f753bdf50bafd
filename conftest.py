"""What every test sees."""

import shutil
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out tests marked ``gpu`` where no NVIDIA driver is to be seen; both frameworks need one."""
    if shutil.which("nvidia-smi"):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no NVIDIA driver on this machine, which both frameworks need"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures that tests have measured, also where they passed."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for figures in [value for report in reports for name, value in report.user_properties if name == "figures"]:
        terminalreporter.write_line(figures)


@pytest.fixture(scope="session")
def coco_photographs() -> list[Path]:
    """Photographs of COCO beside the checkout, if they are there; never part of the project."""
    return sorted((Path(__file__).resolve().parent.parent / "shared" / "coco" / "val2017").glob("*.jpg"))
