"""A run that is killed at any moment goes on and ends where it would have ended; a full disk costs nothing."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_lines import ROOT
from test_train_programs import MODEL, lines, same_run

import weight_convert
from fixtures.coco import Drawn, write_coco

KILLS, EPOCHS = 10, 40
PACKAGES = [pytest.param("detr_pt", "pth", id="detr_pt"), pytest.param("detr_jt", "pkl", id="detr_jt")]
# The smallest detector that has a mask head.
MASKS = ["--hidden_dim", "128", "--nheads", "8", "--masks", "--dataset_file", "coco_panoptic"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    write_coco(folder, Drawn(train=8, val=2))
    return folder


def command(
    package: str, shapes: Path, out: Path, epochs: int, checkpoint: Path | None = None, masks: bool = False
) -> list[str]:
    data = ["--coco_path", str(shapes), "--image_size", "96", "--batch_size", "2", "--num_workers", "0"]
    run = ["--epochs", str(epochs), "--lr_drop", "15", "--eval_every", "10", "--output_dir", str(out)]
    resumed = ["--resume", str(checkpoint)] if checkpoint and checkpoint.exists() else []
    with_masks = [*MASKS, "--coco_panoptic_path", str(shapes)] if masks else []
    return [sys.executable, "-m", package, *MODEL, *data, *run, *resumed, *with_masks]


def begin(arguments: list[str], before: Callable[[], None] | None = None) -> "subprocess.Popen[str]":
    """Start a program; ``before`` is called in its process first."""
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=before,
    )


def run_through(arguments: list[str]) -> str:
    with begin(arguments) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output[-4000:]
    return output


@pytest.mark.slow
@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
@pytest.mark.parametrize(("package", "suffix"), PACKAGES)
def test_killed_at_random_moments(shapes: Path, tmp_path: Path, package: str, suffix: str, masks: bool) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start = time.monotonic()
    run_through(command(package, shapes, whole, EPOCHS, masks=masks))
    seconds = time.monotonic() - start

    moments = random.Random(0)
    checkpoint = killed / f"checkpoint.{suffix}"
    begun = []
    for _ in range(KILLS):
        with begin(command(package, shapes, killed, EPOCHS, checkpoint, masks)) as process:
            assert process.stdout is not None
            first = process.stdout.readline()  # it trains
            assert first.startswith("epoch"), first + process.stdout.read()
            begun.append(int(first.split()[1]))
            # So that it is not over before the last, even if the whole run had a busier machine.
            time.sleep(moments.uniform(0, seconds / KILLS / 2))
            process.kill()
        assert process.returncode in (0, -signal.SIGKILL)
    assert begun == sorted(begun) and begun[-1] > begun[0]
    run_through(command(package, shapes, killed, EPOCHS, checkpoint, masks))
    same_run(whole / f"checkpoint.{suffix}", checkpoint)
    assert lines(whole) == lines(killed)
    assert (whole / "eval_summary.txt").read_text() == (killed / "eval_summary.txt").read_text()


@pytest.mark.parametrize(
    ("package", "suffix"), [PACKAGES[0], pytest.param("detr_jt", "pkl", id="detr_jt", marks=pytest.mark.slow)]
)
def test_a_full_disk_leaves_the_checkpoint_whole(shapes: Path, tmp_path: Path, package: str, suffix: str) -> None:
    checkpoint = tmp_path / f"checkpoint.{suffix}"
    run_through(command(package, shapes, tmp_path, 1))
    before = checkpoint.read_bytes()
    model = weight_convert.read(checkpoint)["model"]
    there = sorted(os.listdir(tmp_path))

    def full() -> None:
        # No file may grow beyond half a checkpoint: to a program the same as a disk without room.
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, len(before) // 2))

    with begin(command(package, shapes, tmp_path, 2, checkpoint), full) as process:
        output, _ = process.communicate()
    assert process.returncode == 2, output
    assert output.splitlines()[-1].startswith("error: ") and checkpoint.name in output.splitlines()[-1], output
    assert checkpoint.read_bytes() == before and sorted(os.listdir(tmp_path)) == there
    assert all(np.isfinite(value).all() for value in model.values())
