"""What a training program writes for its reader: ``log.txt``, ``eval_summary.txt``, ``eval.json``, and progress."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from detr_common.evaluate import FIGURES, MASK_FIGURES, PANOPTIC_GROUPS, panoptic_names

LOG = "log.txt"
SUMMARY = "eval_summary.txt"
EVALUATION = "eval.json"
# Keys of the log for the twelve figures of boxes and of masks, behind "train_" or "test_".
BOXES, MASKS = "coco_eval_bbox", "coco_eval_masks"

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


def write_log(
    folder: Path,
    epoch: int,
    train: Mapping[str, float],
    test: Mapping[str, float],
    seen: Mapping[str, float],
    more: Mapping[str, object],
) -> None:
    """Append an epoch to ``log.txt``, one JSON object a line, with upstream's keys.

    Args:
        folder: of the run.
        epoch: from 0.
        train: mean of each loss over the epoch, and the learning rate.
        test: losses and figures of the evaluation; empty if there was none.
        seen: the same on the photographs for training.
        more: further entries.
    """
    figures = logged_figures("test", test)
    line = {
        **{f"train_{name}": value for name, value in train.items()},
        **{f"test_{name}": value for name, value in test.items() if not _is_figure(name)},
        **figures,
        "epoch": epoch,
        **more,
        **logged_figures("train", seen),
    }
    with (folder / LOG).open("a", encoding="utf8") as file:
        file.write(json.dumps(line) + "\n")


def logged_figures(part: str, figures: Mapping[str, float]) -> dict[str, object]:
    """Return the figures of an evaluation under upstream's keys, which begin with ``part``; losses are left out."""
    groups = {BOXES: FIGURES, MASKS: MASK_FIGURES}
    found: dict[str, object] = {
        f"{part}_{key}": [figures[name] for name in names] for key, names in groups.items() if names[0] in figures
    }
    for group in PANOPTIC_GROUPS:
        names = panoptic_names(group)
        if names[0] in figures:
            values = dict(zip(("pq", "sq", "rq"), (figures[name] for name in names), strict=True))
            found[f"{part}_{names[0]}"] = values
    return found


def _is_figure(name: str) -> bool:
    panoptic = [name for group in PANOPTIC_GROUPS for name in panoptic_names(group)]
    return name in (*FIGURES, *MASK_FIGURES, *panoptic)


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
    """Return the lines in which figures are printed: pycocotools' twelve of boxes, of masks, and a panoptic table."""
    lines = _coco_lines(figures, FIGURES)
    masks = _coco_lines(figures, MASK_FIGURES)
    if masks:
        lines += ["IoU metric: segm", *masks]
    groups = [group for group in PANOPTIC_GROUPS if panoptic_names(group)[0] in figures]
    if groups:
        lines.append("Panoptic    |    PQ     SQ     RQ")
    for group in groups:
        values = "  ".join(f"{100 * figures[name]:5.1f}" for name in panoptic_names(group))
        lines.append(f"{PANOPTIC_GROUPS[group]:<11} | {values}")
    return lines


def _coco_lines(figures: Mapping[str, float], names: Sequence[str]) -> list[str]:
    if names[0] not in figures:
        return []
    return [
        f" {title:<18} {f'({short})'} @[ IoU={iou:<9} | area={area:>6} | maxDets={most:>3} ] = {figures[name]:0.3f}"
        for (title, short, iou, area, most), name in zip(_LINES, names, strict=True)
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
