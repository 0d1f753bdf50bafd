"""Growth drawn: time and memory of each side beside the arithmetic, one column for each variable."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detr_common.errors import InputError
from parity.bench.work import ALLOWANCE, Series
from parity.writing import check_destination, replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# As parity.runs.figures draws PyTorch and Jittor.
_STYLES = {"detr_pt": ("#d95f02", "o"), "detr_jt": ("#1b6ca8", "s"), "plain": ("#7a7a7a", "^")}
_AXES = {"area": "area of an image", "batch": "images of a step", "queries": "queries", "layers": "layers of each half"}


def check_drawing(option: str, path: Path | None) -> None:
    """Refuse a file that cannot be drawn, before anything is measured; None is none.

    Args:
        option: by which the message names it.
        path: the file; one that is there will be replaced.

    Raises:
        InputError: names option and path.
    """
    if path is None:
        return
    if path.suffix != ".svg":
        raise InputError(f"{option} {path}: is drawn as SVG; name a file that ends with .svg")
    check_destination(option, path)


def draw(series: Sequence[Series], path: Path) -> None:
    """Draw how cost grew, as one SVG file, at once: a reader sees the old file or the whole new one.

    Args:
        series: at least one; a column each, time above and memory below.
        path: the file; one that is there is replaced.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib

    # The same series give the same file: no date, and identifiers that are no random numbers.
    with matplotlib.rc_context({"svg.hashsalt": "parity", "svg.fonttype": "none"}), io.BytesIO() as drawn:
        _figure(series).savefig(drawn, format="svg", metadata={"Date": None})
        replace_file(path, drawn.getvalue())


def _figure(series: Sequence[Series]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * max(len(series), 2), 6.4), layout="constrained")
    rows = figure.subplots(2, len(series), squeeze=False, sharex="col")
    for column, one in enumerate(series):
        sides = list(one.costs[0].taken)
        _panel(rows[0][column], one, {side: one.seconds(side) for side in sides})
        _panel(rows[1][column], one, {side: one.memory(side) for side in sides})
        rows[0][column].set_title(one.variable.name)
        rows[1][column].set_xlabel(_AXES[one.variable.name])
    rows[0][0].set_ylabel("time of a step, factor")
    rows[1][0].set_ylabel("memory of the steps, factor")
    rows[0][0].legend(fontsize="small")
    return figure


def _panel(axis: Axes, series: Series, costs: dict[str, list[float]]) -> None:
    amounts = series.variable.amounts()
    operations = series.operations()
    arithmetic = [value / operations[0] for value in operations]
    axis.plot(amounts, arithmetic, color="black", linestyle="--", linewidth=1.0, label="arithmetic")
    limit = [value * ALLOWANCE for value in arithmetic]
    axis.fill_between(amounts, arithmetic, limit, color="#b0b0b0", alpha=0.5, linewidth=0, label="allowance")
    for side, values in costs.items():
        colour, marker = _STYLES[side]
        # What needed no memory at first has no multiples; the judge says no to it.
        multiples = [value / values[0] if values[0] > 0 else float("nan") for value in values]
        axis.plot(amounts, multiples, color=colour, marker=marker, markersize=4, linewidth=1.2, label=side)
    rotation = 30 if series.variable.name == "area" else 0
    axis.set_xticks(amounts, series.variable.labels(), fontsize="small", rotation=rotation)
