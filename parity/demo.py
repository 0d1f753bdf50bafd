"""The main job: a checkpoint from ``.pth`` to ``.pkl``, and both detectors compared on real photographs."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

import fixtures
import weight_convert
from detr_common.errors import InputError
from detr_common.options import default_args
from parity.batch import photograph_batch
from parity.layers import LayersJob
from parity.report import print_layers
from parity.usage import command_line
from parity.verdict import LayersVerdict


def write_seeded_checkpoint(args: argparse.Namespace, path: Path) -> Path:
    """Write the seeded checkpoint of a model as ``.pkl``, which takes no framework, and return its path.

    Raises:
        InputError: the options do not describe a model.
    """
    weight_convert.write({"model": fixtures.state_dict(args, seed=args.seed)}, path)
    return path


def run(out: Path, size: int, console: Console, run_layers: Callable[[LayersJob], LayersVerdict]) -> LayersVerdict:
    """Convert a seeded DETR-R50 and compare the two models that read the two files.

    Args:
        out: folder for the checkpoints.
        size: pixels of the photographs' shorter side.
        console: where to print.
        run_layers: runs the layers rung.

    Raises:
        InputError: the folder or the checkpoint could not be made, or the conversion failed.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be made a folder ({error.strerror}); name another") from None
    pth, pkl = out / "detr-r50-seeded.pth", out / "detr-r50-seeded.pkl"
    _say(console, "[bold]A seeded DETR-R50 checkpoint[/] (calibrated, not trained), and its conversion")
    _run_module(console, "fixtures", "checkpoint", str(pth), "--force")
    _run_module(console, "weight_convert", str(pth), str(pkl), "--verify", "--force")
    _say(console, "[bold]Both detectors on two photographs[/], PyTorch from the .pth and Jittor from the .pkl")
    command = ["parity", "layers", "--weights", str(pth), "--jittor-weights", str(pkl), "--size", str(size)]
    _say(console, f"$ {escape(command_line(command))}")
    verdict = run_layers(LayersJob(default_args(), pth, photograph_batch([], size), port_weights=pkl))
    print_layers(verdict, console, command=command_line(command))
    return verdict


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _run_module(console: Console, *command: str) -> None:
    """Run a command of the project in a process of its own, as a user would."""
    shown = command_line(command)
    _say(console, f"$ {escape(shown)}")
    status = subprocess.run([sys.executable, "-m", *command]).returncode
    if status:
        raise InputError(f"{shown}: ended with code {status}; see its message above")
