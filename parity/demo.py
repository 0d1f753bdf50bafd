"""The main job: a checkpoint from ``.pth`` to ``.pkl``, and both detectors compared on every rung of the ladder."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

import fixtures
import weight_convert
from detr_common.errors import InputError
from parity.usage import command_line


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
        The exit code of the ladder.

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
    return _run_module(console, ladder)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _run_module(console: Console, command: Sequence[str]) -> int:
    """Run a command of the project in a process of its own, as a user would; return its exit code."""
    _say(console, f"$ {escape(command_line(command))}")
    return subprocess.run([sys.executable, "-m", *command]).returncode
