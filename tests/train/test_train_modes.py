"""Dropout is on in every epoch of training, by the seeds of its steps, and off in every evaluation."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
PACKAGES = ("detr_pt", "detr_jt")


@pytest.fixture(scope="module", params=PACKAGES)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The losses of one package."""
    file = tmp_path_factory.mktemp("modes") / "seen.json"
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, HERE / "observe_modes.py", request.param, file]
    process = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-6000:]
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_masks_follow_the_seeds_of_the_steps_also_after_an_evaluation(seen: dict[str, Any]) -> None:
    assert seen["first"] == seen["second"]
    assert len({*seen["first"], *seen["unseeded"]}) == 4


def test_nothing_is_dropped_in_an_evaluation(seen: dict[str, Any]) -> None:
    plain = seen["nothing dropped"][0]
    assert seen["evaluated"] == seen["evaluated again"] == pytest.approx([plain], rel=1e-6)
    assert all(abs(loss - plain) > 1e-4 * plain for loss in seen["first"])


def test_every_step_of_every_epoch_has_masks_of_its_own(seen: dict[str, Any]) -> None:
    first, second = seen["seeds"]
    assert len({*first, *second}) == 6


def test_the_rate_drops_after_as_many_epochs_as_were_asked_for(seen: dict[str, Any]) -> None:
    assert seen["rates"] == pytest.approx([0.1, 0.01, 0.01, 0.001, 0.001])
