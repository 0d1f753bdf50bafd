"""The memory of steps of training: with masks, DETR-R50 with 100 queries on two photographs; and over many steps."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("observe_memory.py")
ROOT = PROGRAM.parents[2]
BOUND = 1.3


@pytest.mark.slow
@pytest.mark.parametrize("size", [128, 256])
def test_masks_in_jittor_take_hardly_more_memory_than_in_pytorch(size: int, record_property: Any) -> None:
    megabytes = {}
    for package in ("detr_pt", "detr_jt"):
        command = [sys.executable, str(PROGRAM), package, str(size)]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        megabytes[package] = float(done.stdout.split()[-1])
    ratio = megabytes["detr_jt"] / megabytes["detr_pt"]
    told = ", ".join(f"{package} {value:.0f} MB" for package, value in megabytes.items())
    record_property("figures", f"masks step of R50 at {size}: {told}, ratio {ratio:.2f}")
    assert ratio <= BOUND, told


@pytest.mark.slow
@pytest.mark.parametrize("package", ["detr_pt", "detr_jt"])
def test_memory_does_not_grow_over_500_steps(package: str, record_property: Any) -> None:
    command = [sys.executable, str(PROGRAM.with_name("observe_growth.py")), package, "800"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    early, late = (float(word) for word in done.stdout.split()[-2:])
    record_property("figures", f"{package}: {early:.0f} MB after 300 steps, {late:.0f} MB after 800")
    assert late <= 1.01 * early, f"{early:.1f} MB after 300 steps, {late:.1f} MB after 800"
