"""The charts of a rung that compares tensor by tensor: errors in the order of execution, and one tensor's errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from parity.html.svg import Axis, Chart, Point, power
from parity.html.words import count, number, plainly, ratio, short
from parity.verdict import Judgement, LayersVerdict

_WIDTH = 1048.0
_LEFT, _RIGHT = 52.0, 1036.0
# Points of the band of PyTorch's own errors, and the least width of a label of a part of the model.
_BAND = 100
_LABEL = 6.2

# Shades of the heat map, and the largest side of a cell.
SHADES = 8
_CELL = 24.0


def depth_chart(verdict: LayersVerdict) -> Markup:
    """Draw the errors of tensors in the order in which they ran, without those that are judged absolutely."""
    # Of what is zero by symmetry an error is no fraction of anything.
    judgements = [judgement for judgement in verdict.judgements if not judgement.absolute]
    exact, bound = verdict.exact, verdict.exact.bound
    # Where only float32 was run there is none of float64; what one side lacks is drawn at the top.
    errors64 = [exact.size(j.error64) if j.error64 else None if j.floats else math.inf for j in judgements]
    mine = [exact.size(j.floats[0]) if j.floats else None for j in judgements]
    own = [exact.size(j.floats[1]) if j.floats else None for j in judgements]
    beyond = any(e is not None and not math.isfinite(e) for e in (*errors64, *mine))
    finite = [e for e in (*errors64, *mine, *own) if e is not None and math.isfinite(e) and e > 0]
    top = 26.0 if beyond else 10.0
    y = Axis(_below(min([*finite, bound / 1e3])), _above(max([*finite, 1e-4])), 300, top, log=True)
    x = Axis(0, max(len(judgements), 1), _LEFT, _RIGHT)

    def place(index: int, error: float) -> Point:
        return x(index + 0.5), 10.0 if not math.isfinite(error) else 314.0 if error == 0 else y(error)

    failing = [i for i, j in enumerate(judgements) if not j]
    worst64 = verdict.worst64 if verdict.in_float64 else None
    chart = Chart(
        f"depth-{verdict.rung}",
        f"Errors of the {verdict.rung} rung in the order of execution",
        f"{count(len(judgements), 'tensor')} from the first to the last that ran, on a logarithmic axis from "
        f"{power(y.low)} to {power(y.high)}. The worst float64 error is {short(worst64)} of the tensor's "
        f"{exact.of}; the bound is {plainly(bound)}. {count(len(failing), 'tensor')} failed. Jittor's float32 error is "
        f"at most {ratio(verdict.worst_ratio)} times PyTorch's own.",
        _WIDTH,
        352,
        least=760,
    )
    _parts(chart, x, judgements, top)
    every = 2 if math.log10(y.high / y.low) > 9 else 1
    chart.left_axis(y, _RIGHT, y.decades(every), [power(v) for v in y.decades(every)])
    chart.text(_LEFT - 6, 318, "0", anchor="end")
    if beyond:
        chart.text(_LEFT - 6, 14, "∞", anchor="end")
    _band(chart, x, y, own)
    chart.dots([place(i, e) for i, e in enumerate(mine) if e is not None], "dot float32")
    chart.dots([place(i, e) for i, e in enumerate(errors64) if e is not None and judgements[i].error64], "dot float64")
    chart.rule(_LEFT, y(bound), _RIGHT, y(bound), "bound")
    chart.text(_RIGHT, y(bound) - 5, f"float64 bound {plainly(bound)}", "told", "end")
    chart.crosses([place(i, _failed(judgements[i], errors64[i], mine[i], exact.bound)) for i in failing], "cross")
    return chart.render()


def _failed(judgement: Judgement, error64: float | None, error32: float | None, bound: float) -> float:
    """Return the error on which the cross of a failed tensor lies: the float32 one where only that is wrong."""
    if error64 is None:
        return math.inf if error32 is None else error32
    only32 = judgement.error64 is not None and error64 <= bound and judgement.error64.mismatches == 0
    return error32 if only32 and error32 is not None else error64


def _parts(chart: Chart, x: Axis, judgements: Sequence[Judgement], top: float) -> None:
    """Draw the parts of the model as bands that alternate, with their names below where there is room."""
    start = 0
    for number_, (part, members) in enumerate(groupby(judgements, key=lambda j: part_of(j.owner))):
        group = list(members)
        left, right = x(start), x(start + len(group))
        worst = max((j.error64.relative for j in group if j.error64), default=None)
        title = f"{part}: {count(len(group), 'tensor')}, worst float64 error {short(worst)}"
        chart.box(left, top, right - left, 322 - top, "part" if number_ % 2 else "part other", title)
        name = part.removeprefix("transformer.")
        if len(name) * _LABEL < right - left:
            chart.text((left + right) / 2, 340, name, anchor="middle")
        start += len(group)


def part_of(owner: str) -> str:
    """Return the part of the model that a module belongs to: the first two names of its path."""
    return ".".join(owner.split(".")[:2])


def _band(chart: Chart, x: Axis, y: Axis, own: Sequence[float | None]) -> None:
    """Fill the range of PyTorch's own float32 errors among a few tensors that ran after one another."""
    bins = min(_BAND, max(len(own), 1))
    upper: list[Point] = []
    lower: list[Point] = []
    for i in range(bins):
        start, end = len(own) * i // bins, len(own) * (i + 1) // bins
        # With the neighbours on both sides, so that it is a band and not a line where errors are alike.
        near = own[max(0, start - (end - start)) : end + (end - start)]
        there = [e for e in near if e is not None and math.isfinite(e) and e > 0]
        if there:
            for at in (x(start), x(end)):
                upper.append((at, y(max(there))))
                lower.append((at, y(min(there)) + 1))
        if upper and (not there or i == bins - 1):
            chart.area(upper, lower, "band")
            upper, lower = [], []


def _below(value: float) -> float:
    return 10.0 ** math.floor(math.log10(max(value, 1e-20)))


def _above(value: float) -> float:
    return 10.0 ** min(math.ceil(math.log10(value)), 12)


def histogram(name: str, evidence: Mapping[str, Any], bound: float | None) -> Markup:
    """Draw how the errors of one tensor are spread.

    Args:
        name: of the element.
        evidence: see ``parity.evidence.look``.
        bound: of the float64 error, if that is what failed and elements are judged by it.
    """
    spread = evidence["histogram"]
    edges, counts = [number(e) for e in spread["edges"]], [int(c) for c in spread["counts"]]
    theirs = [int(c) for c in spread["reference"] or [0] * len(counts)]
    used = [i for i in range(len(counts)) if counts[i] or theirs[i]]
    first, last = (max(used[0] - 2, 0), min(used[-1] + 3, len(counts))) if used else (0, len(counts))
    if bound is not None:
        first = min(first, max(0, next(i for i, e in enumerate(edges) if e >= math.log10(bound)) - 2))
    x = Axis(edges[first], edges[last], 52, 456)
    most = max([*counts, *theirs, 1])
    y = Axis(0, most, 190, 14)
    chart = Chart(
        name,
        "How the errors of this tensor are spread",
        f"Number of elements by their error as a fraction of the tensor's scale, in half decades. {_spread(evidence)}",
        470,
        238,
        least=330,
    )
    chart.left_axis(y, 456, y.ticks(4), [f"{v:,.0f}" for v in y.ticks(4)])
    for i in range(first, last):
        left, right = x(edges[i]), x(edges[i + 1])
        if counts[i]:
            chart.box(left + 0.5, y(counts[i]), right - left - 1, 190 - y(counts[i]), "bar", f"{counts[i]:,} elements")
    if spread["reference"]:
        steps = [(x(edges[i + side]), y(theirs[i])) for i in range(first, last) for side in (0, 1)]
        chart.line(steps, "line reference")
    for value in x.ticks(6):
        if value == round(value):
            chart.text(x(value), 208, power(10.0**value), anchor="middle")
    if bound is not None:
        at = x(math.log10(bound))
        chart.rule(at, 14, at, 190, "bound")
        chart.text(at + 5, 24, f"bound {plainly(bound)}", "told")
    chart.text(254, 230, "error, as a fraction of the tensor's scale", anchor="middle")
    return chart.render()


def _spread(evidence: Mapping[str, Any]) -> str:
    spread = evidence["histogram"]
    told = [f"{count(sum(map(int, spread['counts'])), 'element')} differ"]
    told.append(f"{count(int(spread['exact']), 'element')} are equal")
    if spread["not_finite"]:
        told.append(f"{count(int(spread['not_finite']), 'element')} are not finite on one side")
    return ", ".join(told) + "."


def heat_map(name: str, evidence: Mapping[str, Any], least: float) -> tuple[Markup, list[str]]:
    """Draw where the errors of one tensor are.

    Args:
        name: of the element.
        evidence: see ``parity.evidence.look``.
        least: what an error must exceed to be shaded.

    Returns:
        The picture, and the lower end of each shade.
    """
    heat = evidence["heat"]
    cells = [[number(cell) for cell in row] for row in heat["cells"]]
    above = [c for row in cells for c in row if c > least and math.isfinite(c)]
    low = math.log10(max(least, min(above, default=least)))
    high = max(math.log10(max(above, default=least)), low + 1)
    shape = [int(n) for n in evidence["shape"]]
    down, across = _axes(heat["rows"], shape), _axes(heat["columns"], shape)
    wide, tall = min(_CELL, 384 / len(cells[0])), min(_CELL, 192 / len(cells))
    width, height = len(cells[0]) * wide, len(cells) * tall
    wrong = sum(c > least for row in cells for c in row)
    chart = Chart(
        name,
        "Where the errors of this tensor are",
        f"The tensor as a picture of {len(cells)} by {len(cells[0])} cells, each the largest error in its part. Down: "
        f"{down}. Across: {across}. {count(wrong, 'cell')} of {len(cells) * len(cells[0]):,} above {plainly(least)}.",
        max(width + 34, 260),
        max(height + 34, 130),
        least=260,
    )
    chart.box(26, 8, width, height, "heat-ground")
    for shade in range(SHADES):
        path = []
        for r, row in enumerate(cells):
            for shaded, run in groupby(enumerate(row), key=lambda pair: _shade(pair[1], least, low, high) == shade):
                members = [column for column, _ in run]
                if shaded:
                    left, top, length = 26 + members[0] * wide, 8 + r * tall, len(members) * wide
                    path.append(f"M{left:g} {top:g}h{length:g}v{tall:g}h-{length:g}z")
        if path:
            chart.add('<path class="heat h{}" d="{}"/>', shade, "".join(path))
    chart.text(26, height + 26, f"{across} →")
    chart.add('<text transform="rotate(90 12 8)" x="12" y="8">{}</text>', f"{down} →")
    ends = [short(10 ** (low + (high - low) * shade / SHADES)) for shade in range(SHADES)]
    return chart.render(), ends


def _shade(error: float, least: float, low: float, high: float) -> int:
    if not error > least:
        return -1
    if math.isinf(error):
        return SHADES - 1
    return min(int((math.log10(error) - low) / (high - low) * SHADES), SHADES - 1)


def _axes(axes: Sequence[int], shape: Sequence[int]) -> str:
    if not axes:
        return "no axis"
    one = "axis" if len(axes) == 1 else "axes"
    return f"{one} {', '.join(map(str, axes))} ({' × '.join(str(shape[a]) for a in axes)})"
