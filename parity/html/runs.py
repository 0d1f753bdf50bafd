"""Whole runs of training: reads the folder of ``parity train`` and draws losses and AP."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from detr_common.errors import InputError
from detr_common.logs import LOG
from parity.html.curves import Curve, run_chart
from parity.html.words import number, ratio
from parity.runs.curves import PORT, REFERENCE, Curves

_LOSSES = {
    "train_loss": "Total loss",
    "train_class_error": "Class error in %",
    "train_loss_ce": "Classification loss",
    "train_loss_bbox": "L1 loss of boxes",
    "train_loss_giou": "GIoU loss",
    "train_loss_mask": "Focal loss of masks",
    "train_loss_dice": "Dice loss of masks",
}
_VERDICT, _PLAN = "verdict.json", "plan.json"


@dataclass(frozen=True)
class Training:
    """What the page shows of the runs.

    Attributes:
        passed: the verdict; None where the folder has none.
        runs: how many.
        epochs: of each.
        judged: what was compared with the envelope of twins: name, how many times it, the bound.
        ends: by run, what it ends with, in the order of ``columns``.
        columns: names of what runs end with.
        charts: losses and AP.
        model: what was trained, which may be another model than the rest of the page is about; empty if not known.
    """

    passed: bool | None
    runs: int
    epochs: int
    judged: list[tuple[str, str, str, bool]]
    ends: list[tuple[str, list[str]]]
    columns: list[str]
    charts: list[tuple[str, Markup]]
    model: str = ""

    @property
    def twins(self) -> int:
        """How many runs are twins of PyTorch."""
        return self.runs - 2


def read_runs(folder: Path) -> Training:
    """Read the logs of all runs in a folder, and the verdict if there is one.

    Raises:
        InputError: it is no folder of ``parity train``, or a log is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"--runs {folder}: no such folder; give the --output_dir of parity train")
    names = sorted((path.parent.name for path in folder.glob(f"*/{LOG}")), key=_place)
    if not {REFERENCE, PORT} <= set(names):
        raise InputError(f"--runs {folder}: holds no runs of both frameworks; give the --output_dir of parity train")
    try:
        runs = {name: _curves(folder / name / LOG) for name in names}
        return replace(_training(runs, _read(folder / _VERDICT)), model=model_of(_read(folder / _PLAN) or {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"--runs {folder}: its logs cannot be read ({error!r})") from None


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def model_of(settings: Mapping[str, Any]) -> str:
    """Return which detector the options of some settings describe; empty if none."""
    args = settings.get("args")
    if not isinstance(args, Mapping) or "backbone" not in args:
        return ""
    layers = f"{args.get('enc_layers')} + {args.get('dec_layers')} layers"
    return f"DETR, {args['backbone']}{'-DC5' if args.get('dilation') else ''}, {layers}"


def _curves(path: Path) -> Curves:
    return Curves((), tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()))


def _place(name: str) -> tuple[int, int, str]:
    order = {REFERENCE: 0, PORT: 1}
    return order.get(name, 2), len(name), name


def _training(runs: Mapping[str, Curves], verdict: Mapping[str, Any] | None) -> Training:
    ends = {name: run.ends() for name, run in runs.items()}
    columns = list(dict.fromkeys(key for values in ends.values() for key in values))
    judged = []
    for place, one in enumerate((verdict or {}).get("curves", ())):
        worst, factor = number(one["worst"]), number(one["factor"])
        # The total loss, which comes first, decides.
        judged.append((_LOSSES.get(one["key"], str(one["key"])), ratio(worst), f"{factor:g}", not place))
    return Training(
        passed=None if verdict is None else bool(verdict["passed"]),
        runs=len(runs),
        epochs=min(len(run.epochs) for run in runs.values()),
        judged=judged,
        ends=[(_title(name), [_end(values.get(key)) for key in columns]) for name, values in ends.items()],
        columns=[column.replace("_", " ").replace("ap", "AP").replace("pq", "PQ") for column in columns],
        charts=[*_loss_charts(runs), *_ap_charts(runs)],
    )


def _title(name: str) -> str:
    return {REFERENCE: "PyTorch", PORT: "Jittor"}.get(name, f"PyTorch, {name}")


def _kind(name: str) -> str:
    return name if name in (REFERENCE, PORT) else "twin"


def _end(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _loss_charts(runs: Mapping[str, Curves]) -> list[tuple[str, Markup]]:
    charts = []
    for key, title in _LOSSES.items():
        if all(key in line for run in runs.values() for line in run.epochs):
            curves = [Curve(_kind(name), dict(enumerate(run.of(key)))) for name, run in runs.items()]
            desc = _last({name: dict(enumerate(run.of(key))) for name, run in runs.items()})
            charts.append((title, run_chart(f"run-{key}", f"{title} by epoch", desc, curves)))
    return charts


def _ap_charts(runs: Mapping[str, Curves]) -> list[tuple[str, Markup]]:
    charts = []
    for masks in (False, True):
        parts = {
            (name, train): {epoch: max(values[0], 0.0) for epoch, values in run.figures(train, masks).items()}
            for name, run in runs.items()
            for train in (True, False)
        }
        if any(parts.values()):
            title = "AP of masks" if masks else "AP of boxes"
            curves = [Curve(_kind(name), values, not train) for (name, train), values in parts.items() if values]
            desc = "Solid: on the photographs for training; dashed: on those for validation. "
            desc += _last({name: values for (name, train), values in parts.items() if train and values})
            charts.append((title, run_chart(f"run-ap-{masks:d}", f"{title} by epoch", desc, curves, top=1.0)))
    return charts


def _last(curves: Mapping[str, Mapping[int, float]]) -> str:
    """Say where the curves end."""
    ends = {name: values[max(values)] for name, values in curves.items() if values}
    twins = [value for name, value in ends.items() if _kind(name) == "twin" and math.isfinite(value)]
    told = [f"{_title(name)} ends at {ends[name]:.3g}" for name in (REFERENCE, PORT) if name in ends]
    if twins:
        told.append(f"twins of PyTorch at {min(twins):.3g} to {max(twins):.3g}")
    return ", ".join(told) + "."
