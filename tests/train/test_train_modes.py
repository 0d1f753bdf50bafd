"""Dropout is on in every epoch of training, by the seeds of its steps, and off in every evaluation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PACKAGES = ("detr_pt", "detr_jt")


@pytest.fixture(scope="module", params=PACKAGES)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """The losses of one package."""
    file = tmp_path_factory.mktemp("modes") / "seen.json"
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, HERE / "observe_modes.py", request.param, file]
    process = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-6000:]
    found: dict[str, list[float]] = json.loads(file.read_text())
    return found


def test_masks_follow_the_seeds_of_the_steps_also_after_an_evaluation(seen: dict[str, list[float]]) -> None:
    assert seen["first"] == seen["second"]
    assert len({*seen["first"], *seen["unseeded"]}) == 4


def test_nothing_is_dropped_in_an_evaluation(seen: dict[str, list[float]]) -> None:
    plain = seen["nothing dropped"][0]
    assert seen["evaluated"] == seen["evaluated again"] == pytest.approx([plain], rel=1e-6)
    assert all(abs(loss - plain) > 1e-4 * plain for loss in seen["first"])
