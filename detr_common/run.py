"""What a training program checks and keeps, whichever framework trains: options, checkpoints, means, signals."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import NoReturn

import numpy as np

from detr_common.errors import InputError
from detr_common.evaluate import Found
from detr_common.logs import LOG
from detr_common.optimizer_state import check_hyperparameters
from detr_common.options import check_model_options

# The exit code of what SIGINT has ended, as shells have it.
INTERRUPTED = 130


def check_training_args(args: argparse.Namespace) -> None:
    """Check the options of a run before anything is read or built; the folder of its output is made.

    Raises:
        InputError: an option cannot be used; it is named.
    """
    check_model_options(args)
    if args.frozen_weights and not args.eval and not Path(args.frozen_weights).is_file():
        raise InputError(f"--frozen_weights {args.frozen_weights}: no such file; name the checkpoint of a detector")
    check_hyperparameters(
        lr=args.lr, lr_backbone=args.lr_backbone, weight_decay=args.weight_decay, lr_drop=args.lr_drop
    )
    for name, least in (("batch_size", 1), ("epochs", 1), ("start_epoch", 0), ("num_workers", 0), ("eval_every", 0)):
        if getattr(args, name) < least:
            raise InputError(f"--{name} {getattr(args, name)}: give {least} or more")
    if args.image_size < 64:
        raise InputError(
            f"--image_size {args.image_size}: give 64 or more, so that no crop is too small for the backbone"
        )
    if not (math.isfinite(args.clip_max_norm) and args.clip_max_norm >= 0):
        raise InputError(f"--clip_max_norm {args.clip_max_norm}: give a number that is not negative; 0 clips nothing")
    if args.eval and not args.resume:
        raise InputError("--eval: name the checkpoint to evaluate with --resume")
    if args.resume and not Path(args.resume).is_file():
        what = "is not a file; name the checkpoint itself" if Path(args.resume).exists() else "no such file"
        raise InputError(f"--resume {args.resume}: {what}")
    if args.output_dir:
        make_folder(Path(args.output_dir))
        if not args.eval:
            _check_no_other_run(Path(args.output_dir), args.resume)


def _check_no_other_run(folder: Path, resumed: str) -> None:
    """Refuse a folder with the checkpoints of a run other than the one that goes on: they would be replaced.

    Raises:
        InputError: says how to go on with what is there.
    """
    there = sorted(path for suffix in (".pth", ".pkl") for path in folder.glob(f"checkpoint*{suffix}"))
    if there and Path(resumed).resolve() not in [path.resolve() for path in there]:
        raise InputError(
            f"--output_dir {folder}: holds {there[0].name} of another run, which would be replaced; go on with it by "
            f"--resume {there[0]}, or name another folder"
        )
    log = folder / LOG
    # The first epoch may have been logged and not saved, where a run was killed; that line is written again.
    if not there and log.is_file() and len(log.read_text(encoding="utf8").splitlines()) > 1:
        raise InputError(f"--output_dir {folder}: holds the {LOG} of another run; name another folder")


def make_folder(folder: Path) -> None:
    """Make the folder of a program's output.

    Raises:
        InputError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"--output_dir {folder}: cannot be made ({error.strerror}); name another folder") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"--output_dir {folder}: cannot be written to; name another folder")


def plainly(args: argparse.Namespace) -> argparse.Namespace:
    """Return options with which the photographs for training are read as those for validation are."""
    return argparse.Namespace(**{**vars(args), "augment": False})


def checkpoints_due(epoch: int, args: argparse.Namespace) -> list[str]:
    """Return the names, without suffix, of the checkpoints to write once an epoch is over, as upstream does.

    Beside the one that is always replaced, one is kept before each drop of the rates and each hundred epochs.
    """
    kept = (epoch + 1) % args.lr_drop == 0 or (epoch + 1) % 100 == 0
    return ["checkpoint", *([f"checkpoint{epoch:04}"] if kept else [])]


@dataclass
class Means:
    """The means of what the steps of an epoch return, of which each counts the same.

    Attributes:
        count: steps.
        sums: by name.
    """

    count: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, values: Mapping[str, float]) -> None:
        """Count a step."""
        self.count += 1
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in values.items()}

    def values(self) -> dict[str, float]:
        """Return the means; nothing before a step."""
        return {name: value / self.count for name, value in self.sums.items()}


def evaluation_of(parts: Sequence[tuple[list[dict[str, float]], Found]]) -> tuple[Means, Found]:
    """Put together what processes have evaluated that took every so many-th batch.

    Args:
        parts: by rank, the losses of each batch and what was found.

    Returns:
        The means over the batches in their order, as a single process has them, and all that was found.
    """
    means, together = Means(), Found()
    for at_once in zip_longest(*(losses for losses, _ in parts)):
        for values in at_once:
            if values is not None:
                means.add(values)
    for _, found in parts:
        together.extend(found)
    return means, together


@contextmanager
def stopping_signals() -> Iterator[Sequence[int]]:
    """Note SIGTERM, and do not die of it: the list that is returned is no longer empty once it came."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def let_interrupt() -> None:
    """Have Ctrl-C raise ``KeyboardInterrupt`` again, which imported Jittor answers by ending the process at once.

    It does so too where a process that this one has started is ended by a signal, as Ctrl-C ends all of a terminal's.
    Where whoever started this process has it ignore SIGINT, it goes on doing so.
    """
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGCHLD") if hasattr(signal, name)]  # one on Windows
    for number in numbers:
        handler = signal.getsignal(number)
        if handler is not None:
            signal.signal(number, handler)


def interrupted(args: argparse.Namespace, suffix: str) -> int:
    """Tell how to go on with a run that Ctrl-C has ended, and return the exit code."""
    checkpoint = Path(args.output_dir, "checkpoint" + suffix)
    resumed = f"; go on with --resume {checkpoint}" if args.output_dir and checkpoint.exists() and not args.eval else ""
    print(f"interrupted{resumed}", file=sys.stderr)
    return INTERRUPTED


def end(code: int) -> NoReturn:
    """End the process with an exit code; at once after Ctrl-C.

    It has ended the processes too in which Jittor compiles kernels, and Jittor would wait for them without end.
    """
    if code == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def step_seed(seed: int, epoch: int, step: int, rank: int = 0) -> int:
    """Return the seed of a step's dropout, below 2**31: a run resumed anywhere draws what it would have drawn."""
    return int(np.random.SeedSequence((seed, epoch, step, rank)).generate_state(1)[0] >> 1)
