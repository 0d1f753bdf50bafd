"""What a training program writes and checks, whichever framework trains: options, logs, figures, signals."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from detr_common.errors import InputError
from detr_common.evaluate import FIGURES
from detr_common.optimizer_state import check_hyperparameters
from detr_common.options import check_model_options

LOG = "log.txt"
SUMMARY = "eval_summary.txt"
EVALUATION = "eval.json"
# Key of the log for the figures on the photographs for training, as ``test_coco_eval_bbox`` is for the others.
TRAIN_FIGURES = "train_coco_eval_bbox"

# The lines of ``COCOeval.summarize``: what is measured, at which IoU, for which areas, in how many detections.
_LINES = (
    ("Average Precision", "AP", "0.50:0.95", "all", 100),
    ("Average Precision", "AP", "0.50", "all", 100),
    ("Average Precision", "AP", "0.75", "all", 100),
    ("Average Precision", "AP", "0.50:0.95", "small", 100),
    ("Average Precision", "AP", "0.50:0.95", "medium", 100),
    ("Average Precision", "AP", "0.50:0.95", "large", 100),
    ("Average Recall", "AR", "0.50:0.95", "all", 1),
    ("Average Recall", "AR", "0.50:0.95", "all", 10),
    ("Average Recall", "AR", "0.50:0.95", "all", 100),
    ("Average Recall", "AR", "0.50:0.95", "small", 100),
    ("Average Recall", "AR", "0.50:0.95", "medium", 100),
    ("Average Recall", "AR", "0.50:0.95", "large", 100),
)


def check_training_args(args: argparse.Namespace) -> None:
    """Check the options of a run before anything is read or built; the folder of its output is made.

    Raises:
        InputError: an option cannot be used; it is named.
    """
    check_model_options(args)
    if args.masks:
        raise InputError(
            "--masks: the programs do not train or evaluate masks yet; the mask head is compared by python -m parity "
            "layers, losses, gradients and steps"
        )
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


def write_log(
    folder: Path, epoch: int, train: Mapping[str, float], test: Mapping[str, float], more: Mapping[str, object]
) -> None:
    """Append an epoch to ``log.txt``, one JSON object a line, with upstream's keys.

    Args:
        folder: of the run.
        epoch: from 0.
        train: mean of each loss over the epoch, and the learning rate.
        test: losses and ``FIGURES`` of the evaluation; empty if there was none.
        more: further entries.
    """
    figures = [test[name] for name in FIGURES if name in test]
    line = {
        **{f"train_{name}": value for name, value in train.items()},
        **{f"test_{name}": value for name, value in test.items() if name not in FIGURES},
        **({"test_coco_eval_bbox": figures} if figures else {}),
        "epoch": epoch,
        **more,
    }
    with (folder / LOG).open("a", encoding="utf8") as file:
        file.write(json.dumps(line) + "\n")


def cut_log(folder: Path, epoch: int) -> None:
    """Drop from ``log.txt`` and ``eval_summary.txt`` what a run that is resumed before ``epoch`` will write again."""
    log = folder / LOG
    if log.is_file():
        lines = [line for line in log.read_text(encoding="utf8").splitlines() if json.loads(line)["epoch"] < epoch]
        _replace(log, "".join(f"{line}\n" for line in lines))
    summary = folder / SUMMARY
    if summary.is_file():
        parts = summary.read_text(encoding="utf8").split("Epoch: ")[1:]
        _replace(summary, "".join(f"Epoch: {part}" for part in parts if int(part.split("\n", 1)[0]) < epoch))


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf8")
    os.replace(part, path)


def summary_lines(figures: Mapping[str, float]) -> list[str]:
    """Return the twelve lines in which pycocotools prints its figures."""
    return [
        f" {title:<18} {f'({short})'} @[ IoU={iou:<9} | area={area:>6} | maxDets={most:>3} ] = {figures[name]:0.3f}"
        for (title, short, iou, area, most), name in zip(_LINES, FIGURES, strict=True)
    ]


def write_summary(folder: Path, epoch: int, figures: Mapping[str, float]) -> None:
    """Append an evaluation to ``eval_summary.txt``."""
    with (folder / SUMMARY).open("a", encoding="utf8") as file:
        file.write("\n".join([f"Epoch: {epoch}", *summary_lines(figures), ""]))


def write_evaluation(folder: Path, figures: Mapping[str, float]) -> None:
    """Write losses and figures of ``--eval``, with all their digits, to ``eval.json``; an older one is replaced."""
    _replace(folder / EVALUATION, json.dumps(dict(figures), indent=1))


class Meter:
    """Says, now and then, how far an epoch is.

    Args:
        title: what is done.
        steps: in the epoch.
        done: of them, before a resumption.
        every: steps between two lines.
    """

    def __init__(self, title: str, steps: int, done: int = 0, every: int = 10) -> None:
        self.title = title
        self.steps = steps
        self.every = every
        self._before = self._done = done
        self._begun = time.monotonic()

    def step(self, values: Mapping[str, float]) -> None:
        """Count a step."""
        self._done += 1
        if self._done % self.every and self._done != self.steps:
            return
        rate = (self._done - self._before) / max(time.monotonic() - self._begun, 1e-9)
        left = (self.steps - self._done) / rate
        shown = "  ".join(
            f"{name} {values[name]:.4f}" for name in ("loss", "class_error", "grad_norm") if name in values
        )
        print(f"{self.title} [{self._done}/{self.steps}]  {shown}  {rate:.2f} steps/s, {left:.0f} s left", flush=True)


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


def evaluation_of(parts: Sequence[tuple[list[dict[str, float]], list[Any]]]) -> tuple[Means, list[Any]]:
    """Put together what processes have evaluated that took every so many-th batch.

    Args:
        parts: by rank, the losses of each batch and the detections.

    Returns:
        The means over the batches in their order, as a single process has them, and all detections.
    """
    means = Means()
    for together in zip_longest(*(losses for losses, _ in parts)):
        for values in together:
            if values is not None:
                means.add(values)
    return means, [one for _, found in parts for one in found]


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


def step_seed(seed: int, epoch: int, step: int, rank: int = 0) -> int:
    """Return the seed of a step's dropout, below 2**31: a run resumed anywhere draws what it would have drawn."""
    return int(np.random.SeedSequence((seed, epoch, step, rank)).generate_state(1)[0] >> 1)
