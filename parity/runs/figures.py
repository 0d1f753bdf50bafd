"""Curves of whole runs, drawn: both frameworks over each other, with the envelope of PyTorch's twins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.runs.curves import FLOOR, PORT, REFERENCE, Curves, apart, envelope

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The panels that ports usually show: four of the training, three of the evaluation.
LOSSES = {
    "train_loss": "total loss",
    "train_class_error": "class error in %",
    "train_loss_bbox": "L1 loss of boxes",
    "train_loss_giou": "GIoU loss",
}
# Those that only a mask head has.
MASK_LOSSES = {"train_loss_mask": "focal loss of masks", "train_loss_dice": "dice loss of masks"}
FIGURES = {0: "AP", 1: "AP50", 2: "AP75"}

# Returns what a panel shows of a run, on the photographs for training or on the others, by epoch.
Series = Callable[[Curves, bool], Mapping[int, float]]
_COLOURS = {REFERENCE: "#d95f02", PORT: "#1b6ca8"}
_LABELS = {REFERENCE: "PyTorch", PORT: "Jittor"}
_TWIN = "#b0b0b0"


def draw(runs: Mapping[str, Curves], out: Path) -> list[Path]:
    """Write ``training.png``, ``steps.png``, ``ap.png``, with masks ``masks.png``, and return their paths.

    Args:
        runs: by name; see ``parity.runs.curves.inside``.
        out: folder of the pictures.
    """
    written = [_save(_training(runs), out / "training.png"), _save(_steps(runs), out / "steps.png")]
    boxes = {title: _figure(index, masks=False) for index, title in FIGURES.items()}
    masks = {f"{title} of masks": _figure(index, masks=True) for index, title in FIGURES.items()}
    panoptic: dict[str, Series] = {"panoptic quality": lambda run, train: run.quality(train)}
    for name, panels in (("ap.png", boxes), ("masks.png", masks | panoptic)):
        there = {title: of for title, of in panels.items() if any(of(run, False) for run in runs.values())}
        if there:
            written.append(_save(_evaluations(runs, there), out / name))
    return written


def losses_of(runs: Mapping[str, Curves]) -> dict[str, str]:
    """Return the losses that are judged and drawn, with their titles; the total first."""
    masks = all(key in line for key in MASK_LOSSES for run in runs.values() for line in run.epochs[:1])
    return LOSSES | (MASK_LOSSES if masks else {})


def _figure(index: int, masks: bool) -> Series:
    return lambda run, train: {epoch: values[index] for epoch, values in run.figures(train, masks).items()}


def _empty(figsize: tuple[float, float]) -> Figure:
    # Only here, since most of those who import this draw nothing.
    from matplotlib.figure import Figure

    return Figure(figsize=figsize, layout="constrained")


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    return path


def _training(runs: Mapping[str, Curves]) -> Figure:
    """Each loss above, and below how far the port is from PyTorch, on the envelope of the twins."""
    losses = losses_of(runs)
    figure = _empty((3.5 * len(losses), 6.4))
    axes = figure.subplots(2, len(losses), sharex=True, height_ratios=(2, 1))
    for column, (key, title) in enumerate(losses.items()):
        above, below = axes[0][column], axes[1][column]
        for name, run in _ordered(runs):
            above.plot(run.of(key), **_style(name))
        above.set_title(title)
        reference = runs[REFERENCE].of(key)
        band = envelope([apart(run.of(key), reference) for name, run in runs.items() if name not in _LABELS], 0.0)
        below.fill_between(range(len(band)), band, FLOOR / 100, color=_TWIN, alpha=0.5, label="twins so far")
        below.axhline(FLOOR, color="black", linewidth=0.6, linestyle=":", label="not told apart below")
        below.plot(apart(runs[PORT].of(key), reference), color=_COLOURS[PORT], label="Jittor from PyTorch")
        below.set_yscale("log")
        below.set_ylim(bottom=FLOOR / 10)
        below.set_xlabel("epoch")
    axes[1][0].set_ylabel("difference, as a fraction")
    axes[0][0].legend()
    axes[1][0].legend()
    return figure


def _evaluations(runs: Mapping[str, Curves], panels: Mapping[str, Series]) -> Figure:
    figure = _empty((4.7 * len(panels), 4.2))
    for axis, (title, of) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, run in _ordered(runs):
            for train, dashes, part in ((True, "-", "training photographs"), (False, ":", "validation")):
                figures = of(run, train)
                style = _style(name) | {"linestyle": dashes}
                if style["label"]:
                    style["label"] += f", {part}"
                axis.plot(list(figures), [max(value, 0.0) for value in figures.values()], **style)
        axis.set_title(title)
        axis.set_xlabel("epoch")
        axis.set_ylim(-0.02, 1.02)
    figure.axes[0].legend(fontsize="small")
    return figure


def _steps(runs: Mapping[str, Curves]) -> Figure:
    """The difference of the total loss, step by step."""
    figure = _empty((9, 4.2))
    axis = figure.subplots()
    reference = [values["loss"] for values in runs[REFERENCE].steps]
    for name, run in _ordered(runs):
        if name != REFERENCE:
            axis.plot(apart([values["loss"] for values in run.steps], reference), **(_style(name) | {"linewidth": 0.7}))
    axis.set_yscale("log")
    axis.set_xlabel("step")
    axis.set_ylabel("difference of the loss from PyTorch's, as a fraction")
    axis.legend()
    return figure


def _ordered(runs: Mapping[str, Curves]) -> list[tuple[str, Curves]]:
    """Twins first, so that they lie below."""
    return sorted(runs.items(), key=lambda pair: pair[0] in _LABELS)


def _style(name: str) -> dict[str, Any]:
    label = _LABELS.get(name) or ("twins of PyTorch" if name == "twin1" else None)
    return {"color": _COLOURS.get(name, _TWIN), "linewidth": 1.2, "label": label}
