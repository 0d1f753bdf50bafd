"""The main job: a checkpoint to ``.pkl``, both detectors on every rung of the ladder, and a short training of both."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

import fixtures
import weight_convert
from detr_common.errors import InputError
from parity.usage import command_line

# Loss curves only, and short ones; `make convergence` runs the whole.
_RECIPE = {
    "backbone": "resnet18", "hidden_dim": "64", "enc_layers": "2", "dec_layers": "2", "nheads": "4",
    "num_queries": "10", "dim_feedforward": "128", "num_classes": "45", "image_size": "96", "batch_size": "4",
    "num_workers": "0", "lr": "2e-4", "lr_backbone": "1e-4", "epochs": "5", "eval_every": "0", "jobs": "2",
}  # fmt: skip


def write_seeded_checkpoint(args: argparse.Namespace, path: Path) -> Path:
    """Write the seeded checkpoint of a model as ``.pkl``, which takes no framework, and return its path.

    Raises:
        InputError: the options do not describe a model.
    """
    weight_convert.write({"model": fixtures.state_dict(args, seed=args.seed)}, path)
    return path


def run(out: Path, size: int, console: Console) -> int:
    """Convert a seeded DETR-R50 and climb the ladder with the two models that read the two files.

    Args:
        out: folder for the checkpoints.
        size: pixels of the photographs' shorter side.
        console: where to print.

    Returns:
        The exit code: the larger of the ladder's and of that of the trainings.

    Raises:
        InputError: the folder or the checkpoint could not be made, or the conversion failed.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be made a folder ({error.strerror}); name another") from None
    pth, pkl = out / "detr-r50-seeded.pth", out / "detr-r50-seeded.pkl"
    _say(console, "[bold]A seeded DETR-R50 checkpoint[/] (calibrated, not trained), and its conversion")
    commands = (
        ["fixtures", "checkpoint", str(pth), "--force"],
        ["weight_convert", str(pth), str(pkl), "--verify", "--force"],
    )
    for command in commands:
        if status := _run_module(console, command):
            raise InputError(f"{command_line(command)}: ended with code {status}; see its message above")
    _say(console, "[bold]Both detectors on photographs[/], PyTorch from the .pth and Jittor from the .pkl")
    ladder = ["parity", "ladder", "--weights", str(pth), "--jittor-weights", str(pkl), "--size", str(size)]
    return max(_run_module(console, ladder), _train(out, console))


def _train(out: Path, console: Console) -> int:
    """Train both for a few epochs on drawn shapes; return the exit code."""
    _say(console, "[bold]Both trainings[/], from the same weights on the same batches, beside two twins of PyTorch")
    with tempfile.TemporaryDirectory() as scratch:
        shapes, runs = Path(scratch) / "shapes", Path(scratch) / "training"
        _run_module(console, ["fixtures", str(shapes), "--easy", "--train", "16", "--val", "4"])
        options = [word for name, value in _RECIPE.items() for word in (f"--{name}", value)]
        folders = ["--coco_path", str(shapes), "--output_dir", str(runs)]
        code = _run_module(console, ["parity", "train", *folders, "--pre_norm", *options])
        for picture in runs.glob("*.png"):
            shutil.copyfile(picture, out / picture.name)
            _say(console, f"{out / picture.name}")
    return code


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _run_module(console: Console, command: Sequence[str]) -> int:
    """Run a command of the project in a process of its own, as a user would; return its exit code."""
    _say(console, f"$ {escape(command_line(command))}")
    with subprocess.Popen([sys.executable, "-m", *command]) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # It was interrupted as well, and is left to take away what it has put down.
            process.wait()
            raise
