"""A run that diverges stops before it has changed anything, names where it began, and can go on from what was saved."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# A minute with kernels compiled, several without.
pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
PACKAGES = ("detr_pt", "detr_jt")
FIRST = "where the first value that is not finite comes from: "


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each package did."""
    folder = tmp_path_factory.mktemp("diverge")
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    for package in PACKAGES:
        command = [sys.executable, HERE / "diverge.py", package, folder]
        process = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-6000:]
    return {package: json.loads((folder / f"{package}.json").read_text()) for package in PACKAGES}


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    ("cause", "found"),
    [
        ("image", "image 1 of the batch: nan at (channel, row, column) (0, 3, 5), one of 1 such values"),
        ("overflow", FIRST + "module transformer.encoder.layers.0."),
        (
            "weight",
            FIRST + "module transformer.decoder.layers.0.norm2 returns it, whose weight is not finite itself",
        ),
        ("gradient", "gradients are not finite: transformer."),
    ],
)
def test_what_diverges_is_named(seen: dict[str, Any], package: str, cause: str, found: str) -> None:
    assert found in seen[package][cause]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_resumed_run_is_the_one_that_never_stopped(seen: dict[str, Any], package: str) -> None:
    assert seen[package]["went on"] == seen[package]["never stopped"]


def test_both_packages_train_alike(seen: dict[str, Any]) -> None:
    for theirs, mine in zip(seen["detr_pt"]["losses"], seen["detr_jt"]["losses"], strict=True):
        assert list(theirs) == list(mine)
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-2)
