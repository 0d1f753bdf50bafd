"""Two processes that train together do what one does, and none waits for one that died."""

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest

import weight_convert
from fixtures.coco import Drawn, write_coco

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"enc_layers": 1, "dec_layers": 2, "hidden_dim": 32, "nheads": 4, "dim_feedforward": 64, "num_queries": 5}
MODEL = ["--backbone", "resnet18", *(word for name, value in SIZES.items() for word in (f"--{name}", str(value)))]
# Dropout would draw other masks, and a padding other borders.
RUN = ["--dtype", "float64", "--dropout", "0", "--no_augmentation", "--image_size", "96", "--num_workers", "0"]
# The smallest detector that has a mask head, whose last layer but one has a group for each channel: what its bias adds
# is taken away again, so that its gradient is rounding and its steps are of no meaning.
MASKS = ["--hidden_dim", "128", "--nheads", "8", "--masks", "--dataset_file", "coco_panoptic"]
MEANINGLESS = "mask_head.lay5.bias"
SUFFIX = {"detr_pt": "pth", "detr_jt": "pkl"}
needs_mpi = pytest.mark.skipif(shutil.which("mpirun") is None, reason="Open MPI is not installed")
PACKAGES = [
    pytest.param("detr_pt", id="detr_pt"),
    pytest.param("detr_jt", id="detr_jt", marks=[needs_mpi, pytest.mark.slow]),
]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squares") / "coco"
    write_coco(folder, Drawn(train=9, val=3, sides=(96, 96)))
    return folder


def start(package: str, processes: int, squares: Path, *more: str) -> "subprocess.Popen[str]":
    python = [sys.executable]
    if processes == 2 and package == "detr_pt":
        python += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    elif processes == 2:
        python = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2", *python]
    arguments = [*python, "-m", package, *MODEL, *RUN, "--coco_path", str(squares), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(process: "subprocess.Popen[str]", seconds: float = 900) -> tuple[int, str]:
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
@pytest.mark.parametrize("package", PACKAGES)
def test_two_processes_are_one_with_twice_the_batch(squares: Path, tmp_path: Path, package: str, masks: bool) -> None:
    runs = {}
    with_masks = [*MASKS, "--coco_panoptic_path", str(squares)] if masks else []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        options = ["--batch_size", str(4 // processes), "--epochs", "2", "--lr_drop", "1", "--output_dir", str(folder)]
        options += with_masks
        code, output = finished(start(package, processes, squares, *options))
        assert code == 0, output[-4000:]
        assert output.count("epoch 1 [2/2]") == 1, output
        log = [json.loads(line) for line in (folder / "log.txt").read_text().splitlines()]
        runs[processes] = weight_convert.read(folder / f"checkpoint.{SUFFIX[package]}"), log

    (one, log), (two, other_log) = runs[1], runs[2]
    for name, value in one["model"].items():
        if name == MEANINGLESS:
            continue
        assert np.abs(value - two["model"][name]).max() <= 1e-12 * max(np.abs(value).max(), 1e-3), name
    states, others = (run["optimizer"]["state"] for run in (one, two))
    for key in ("exp_avg", "exp_avg_sq"):
        # Of a key's bias the gradient is 0, and what is left of it rounding.
        scale = max(np.abs(state[key]).max() for state in states.values())
        for index, state in states.items():
            assert np.abs(state[key] - others[index][key]).max() <= 1e-10 * scale, (index, key)
    assert len(log) == len(other_log) == 2
    for line, other in zip(log, other_log, strict=True):
        assert line.keys() == other.keys()
        trained = [key for key in line if key.startswith("train_")]
        assert {key: other[key] for key in trained} == pytest.approx({key: line[key] for key in trained}, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_the_death_of_a_process_is_that_of_the_run(squares: Path, package: str) -> None:
    with start(package, 2, squares, "--batch_size", "2", "--epochs", "500", "--eval_every", "0") as process:
        assert process.stdout is not None
        try:
            said = list(takewhile(lambda line: "epoch 1 " not in line, process.stdout))
            workers = workers_of(process.pid, package)
            assert len(workers) == 2, "".join(said)
            os.kill(workers[1], signal.SIGKILL)
            code, output = finished(process, 60)
        finally:
            if process.poll() is None:
                for one in [*workers_of(process.pid, package), process.pid]:
                    os.kill(one, signal.SIGKILL)
    assert code != 0, output


def workers_of(launcher: int, package: str) -> list[int]:
    """The processes below a launcher that run the package."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = {child for child in parents if launcher in ancestry(child, parents) and is_worker(child, package)}
    return sorted(child for child in found if parents[child] not in found)  # Jittor's compilers are copies


def ancestry(process: int, parents: dict[int, int]) -> list[int]:
    found = []
    while process in parents:
        process = parents[process]
        found.append(process)
    return found


def is_worker(process: int, package: str) -> bool:
    words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    module = words.index(b"-m") + 1 if b"-m" in words else 0
    return Path(words[0].decode()).name.startswith("python") and words[module] == package.encode()


@pytest.mark.parametrize("package", PACKAGES)
def test_what_one_process_refuses_ends_the_run(squares: Path, package: str) -> None:
    code, output = finished(start(package, 2, squares, "--batch_size", "6", "--epochs", "1"), 300)
    assert code != 0 and "9 photographs to train on are fewer than one batch of 12" in output, output
