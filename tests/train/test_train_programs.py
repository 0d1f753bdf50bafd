"""``python -m detr_pt`` and ``python -m detr_jt``: they train, log, evaluate, stop, go on, and refuse."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_lines import ROOT, call

import weight_convert
from fixtures.coco import Drawn, write_coco

SIZES = {"enc_layers": 1, "dec_layers": 2, "hidden_dim": 32, "nheads": 4, "dim_feedforward": 64, "num_queries": 5}
MODEL = ["--backbone", "resnet18", *(word for name, value in SIZES.items() for word in (f"--{name}", str(value)))]
Copy = Callable[[str, Path], None]
Program = Callable[[list[str]], "subprocess.CompletedProcess[str]"]
PACKAGES = [
    pytest.param("detr_pt", "pth", id="detr_pt"),
    pytest.param("detr_jt", "pkl", id="detr_jt", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    write_coco(folder, Drawn(train=9, val=3))
    return folder


def command(package: str, shapes: Path, *more: str, epochs: int = 3) -> list[str]:
    data = ["--coco_path", str(shapes), "--image_size", "96", "--batch_size", "2", "--num_workers", "0"]
    run = ["--epochs", str(epochs), "--lr_drop", "2"]
    return [sys.executable, "-m", package, *MODEL, *data, *run, *more]


def train(
    package: str, shapes: Path, *more: str, epochs: int = 3, program: Program = call
) -> subprocess.CompletedProcess[str]:
    done = program(command(package, shapes, *more, epochs=epochs))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def after_an_epoch(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Copies the folder of a package's run of one epoch, which is trained once."""

    @cache
    def trained(package: str) -> Path:
        folder = tmp_path_factory.mktemp(package) / "run"
        train(package, shapes, "--output_dir", str(folder), epochs=1)
        return folder

    def copy(package: str, into: Path) -> None:
        shutil.copytree(trained(package), into, dirs_exist_ok=True)

    return copy


def flat(tree: Any, place: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in flat(value, f"{place}/{key}").items()}
    if isinstance(tree, (list, tuple)):
        return {k: v for i, value in enumerate(tree) for k, v in flat(value, f"{place}/{i}").items()}
    return {place: tree}


def same_run(left: Path, right: Path) -> None:
    """Two checkpoints are equal bit by bit, but for the options, which name their files."""
    first, second = (weight_convert.read(path) for path in (left, right))
    first.pop("args"), second.pop("args")
    one, other = flat(first), flat(second)
    assert one.keys() == other.keys() and len(one) > 200
    different = [key for key in one if not np.array_equal(one[key], other[key])]
    assert not different, different[:5]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.txt").read_text().splitlines()]


@pytest.mark.parametrize(("package", "suffix"), PACKAGES)
def test_a_run_and_one_that_is_stopped_and_goes_on_are_the_same(
    shapes: Path, after_an_epoch: Copy, tmp_path: Path, program: Program, package: str, suffix: str
) -> None:
    whole, parts, cut = (tmp_path / name for name in ("whole", "parts", "cut"))
    train(package, shapes, "--output_dir", str(whole))
    assert [line["epoch"] for line in lines(whole)] == [0, 1, 2]
    assert [line["train_lr"] for line in lines(whole)] == pytest.approx([1e-4, 1e-4, 1e-5])
    assert all(len(line["test_coco_eval_bbox"]) == 12 for line in lines(whole))
    assert (whole / "eval_summary.txt").read_text().count("Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all") == 3
    assert (whole / f"checkpoint0001.{suffix}").is_file()

    after_an_epoch(package, parts)
    resume = ["--output_dir", str(parts), "--resume", str(parts / f"checkpoint.{suffix}")]
    train(package, shapes, *resume, program=program)
    same_run(whole / f"checkpoint.{suffix}", parts / f"checkpoint.{suffix}")
    assert lines(whole) == lines(parts)

    stopped_within_an_epoch(command(package, shapes, "--output_dir", str(cut)))
    saved = weight_convert.read(cut / f"checkpoint.{suffix}")
    assert 0 < saved["begun"]["count"] < 4 or saved["epoch"] >= 0
    # In a process of its own, as one goes on after a signal.
    train(package, shapes, "--output_dir", str(cut), "--resume", str(cut / f"checkpoint.{suffix}"))
    same_run(whole / f"checkpoint.{suffix}", cut / f"checkpoint.{suffix}")
    assert lines(whole) == lines(cut)


def stopped_within_an_epoch(arguments: list[str]) -> None:
    """Send SIGTERM once the first epoch has begun."""
    # Every step is told of, so that the signal comes between two of them.
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    code = "import sys, runpy; from detr_common import logs; logs.Meter.__init__.__defaults__ = (1,); " + (
        f"sys.argv = {arguments[2:]!r}; runpy.run_module({arguments[2]!r}, run_name='__main__', alter_sys=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if line.startswith("epoch 0 [1/"):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
        assert process.wait(60) == 0, process.stderr.read()
    assert "by SIGTERM; go on with --resume" in rest


def test_each_package_goes_on_with_and_evaluates_what_the_other_has_saved(
    shapes: Path, after_an_epoch: Copy, tmp_path: Path, program: Program
) -> None:
    after_an_epoch("detr_pt", tmp_path)
    saved = tmp_path / "checkpoint.pth"
    weight_convert.write(weight_convert.read(saved), tmp_path / "there.pkl")
    again = tmp_path / "again"
    resume = ["--output_dir", str(again), "--resume", str(tmp_path / "there.pkl")]
    train("detr_pt", shapes, *resume, epochs=2, program=program)
    train("detr_pt", shapes, "--output_dir", str(tmp_path), "--resume", str(saved), epochs=2, program=program)
    same_run(again / "checkpoint.pth", saved)
    figures = train("detr_pt", shapes, "--eval", "--resume", str(saved)).stdout
    evaluate = ["--eval", "--resume", str(again / "checkpoint.pth")]
    assert figures == train("detr_pt", shapes, *evaluate, program=program).stdout
    assert figures.count("Average") == 12


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--coco_path", "nowhere"], "--coco_path nowhere: no such folder"),
        (["--resume", "nowhere.pth"], "--resume nowhere.pth: no such file"),
        (["--resume", str(ROOT)], "is not a file; name the checkpoint itself"),
        (["--nheads", "3"], "--hidden_dim 32: must be a multiple of --nheads 3"),
        (["--hidden_dim", "130", "--nheads", "5"], "--hidden_dim 130: must be a multiple of 4"),
        (["--eval"], "--eval: name the checkpoint"),
        (["--masks", "--nheads", "4"], "--hidden_dim 32: must be a multiple of 128 with --masks"),
        (["--masks", "--hidden_dim", "128", "--nheads", "4"], "--nheads 4: must be a multiple of 8 with --masks"),
        (["--batch_size", "0"], "--batch_size 0: give 1 or more"),
        (["--image_size", "20"], "--image_size 20: give 64 or more"),
        (["--lr", "nan"], "--lr nan"),
        (["--output_dir", __file__], "cannot be made"),
        (["--num_classes", "10"], "category ids [17, 44] are not below 10"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(
    shapes: Path, in_process: Any, more: list[str], words: str
) -> None:
    done = in_process("detr_pt.__main__", command("detr_pt", shapes, *more)[3:])
    assert done.returncode == 2 and words in done.stderr and done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_checkpoint_of_another_configuration_is_refused(
    shapes: Path, after_an_epoch: Copy, tmp_path: Path, program: Program
) -> None:
    after_an_epoch("detr_pt", tmp_path)
    resumed = command("detr_pt", shapes, "--resume", str(tmp_path / "checkpoint.pth"), "--hidden_dim", "64")
    done = program(resumed)
    assert done.returncode == 2 and "does not fit the model" in done.stderr


@pytest.mark.parametrize(("package", "suffix"), PACKAGES)
def test_another_run_in_the_folder_is_left_alone(
    shapes: Path, after_an_epoch: Copy, tmp_path: Path, program: Program, package: str, suffix: str
) -> None:
    after_an_epoch(package, tmp_path)
    checkpoint = tmp_path / f"checkpoint.{suffix}"
    before = checkpoint.read_bytes(), (tmp_path / "log.txt").read_bytes()
    weights = tmp_path.with_name(f"{tmp_path.name}.pkl")
    weight_convert.write({"model": weight_convert.read(checkpoint)["model"]}, weights)
    for more in ([], ["--resume", str(weights)]):
        done = program(command(package, shapes, "--output_dir", str(tmp_path), *more))
        assert done.returncode == 2 and f"{checkpoint.name} of another run" in done.stderr, done.stderr
    assert (checkpoint.read_bytes(), (tmp_path / "log.txt").read_bytes()) == before
    resume = ["--output_dir", str(tmp_path), "--resume", str(checkpoint)]
    said = train(package, shapes, *resume, epochs=1, program=program).stdout
    assert "all 1 epochs are over" in said
    checkpoint.unlink()
    (tmp_path / "log.txt").write_bytes(before[1] * 2)
    done = program(command(package, shapes, "--output_dir", str(tmp_path)))
    assert done.returncode == 2 and "log.txt of another run" in done.stderr, done.stderr
