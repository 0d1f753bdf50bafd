"""The charts over time: the free steps within the envelope of twins, and whole runs of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from parity.html.svg import Axis, Chart, power
from parity.html.words import count, plainly, ratio, short, worst_of
from parity.steps_verdict import StepsVerdict

_WIDTH, _LEFT, _RIGHT, _BOTTOM = 470.0, 52.0, 456.0, 190.0


def envelope_chart(verdict: StepsVerdict) -> Markup:
    """Draw how far the port's float32 parameters are from PyTorch's, within what is allowed to them."""
    steps, factor = verdict.steps, verdict.policy.factor
    worst = max(steps, key=lambda step: math.inf if math.isnan(step.ratio) else step.ratio)
    values = [v for s in steps for v in (s.distance, s.envelope, factor * s.envelope) if 0 < v < math.inf]
    x, y = _axes(len(steps), values)
    chart = Chart(
        "steps-envelope",
        "Distance of the float32 parameters from PyTorch's, step by step",
        f"Over {count(len(steps), 'step')} the distance is at most {ratio(worst.ratio)} times the envelope of "
        f"PyTorch's twins, at step {worst.number}; {plainly(factor)} times is allowed.",
        _WIDTH,
        238,
        least=330,
    )
    _frame(chart, x, y, "step")
    envelope = [(x(s.number), y(s.envelope)) for s in steps]
    chart.area([(x(s.number), y(factor * s.envelope)) for s in steps], envelope, "band soft")
    chart.area(envelope, [(x(s.number), _BOTTOM) for s in steps], "band")
    chart.line([(x(s.number), y(factor * s.envelope)) for s in steps], "bound")
    points = [(x(s.number), y(s.distance)) for s in steps]
    chart.line(points, "line float32")
    chart.dots(points, "dot float32 large")
    chart.crosses([p for p, s in zip(points, steps, strict=True) if not s.ratio <= factor], "cross", 4)
    return chart.render()


def free_chart(verdict: StepsVerdict) -> Markup:
    """Draw how far the float64 runs are apart."""
    bound = verdict.policy.bound
    errors = {s.number: s.error64 for s in verdict.steps if s.error64 is not None}
    x, y = _axes(len(errors), [bound * 3, *(error for error in errors.values() if 0 < error < math.inf)])
    chart = Chart(
        "steps-float64",
        "Largest float64 error of a tensor, step by step",
        f"Over {count(len(errors), 'step')} at most {short(worst_of(errors.values()))} of the tensor's scale; "
        f"the bound is {plainly(bound)}.",
        _WIDTH,
        238,
        least=330,
    )
    _frame(chart, x, y, "step")
    chart.rule(_LEFT, y(bound), _RIGHT, y(bound), "bound")
    chart.text(_RIGHT, y(bound) - 5, f"bound {plainly(bound)}", "told", "end")
    points = [(x(number), y(error)) for number, error in errors.items()]
    chart.line(points, "line float64")
    chart.dots(points, "dot float64 large")
    chart.crosses([p for p, error in zip(points, errors.values(), strict=True) if not error <= bound], "cross", 4)
    return chart.render()


def _axes(length: int, values: Sequence[float]) -> tuple[Axis, Axis]:
    low = 10.0 ** math.floor(math.log10(min(values, default=1e-9)))
    high = 10.0 ** math.ceil(math.log10(max(values, default=1.0)))
    return Axis(0, max(length - 1, 1), _LEFT + 6, _RIGHT - 6), Axis(low, max(high, low * 10), _BOTTOM, 14, log=True)


def _frame(chart: Chart, x: Axis, y: Axis, label: str) -> None:
    values = y.decades(1 if math.log10(y.high / y.low) < 7 else 2) if y.log else y.ticks(5)
    chart.left_axis(y, _RIGHT, values, [power(v) if y.log else f"{v:g}" for v in values])
    for value in x.ticks(8):
        if value == round(value):
            chart.text(x(value), 208, f"{value:.0f}", anchor="middle")
    chart.text((_LEFT + _RIGHT) / 2, 230, label, anchor="middle")


@dataclass(frozen=True)
class Curve:
    """A curve of one run.

    Attributes:
        kind: "jittor", "torch" or "twin".
        points: epoch and value.
        dashed: for a second curve of the same run.
    """

    kind: str
    points: Mapping[int, float]
    dashed: bool = False


def run_chart(name: str, title: str, desc: str, curves: Sequence[Curve], top: float | None = None) -> Markup:
    """Draw curves of runs over each other, twins below.

    Args:
        name: of the element.
        title: of the chart.
        desc: what is to be seen.
        curves: those of the runs.
        top: the largest value on the axis; None for that of the curves.
    """
    values = [v for curve in curves for v in curve.points.values() if math.isfinite(v)]
    last = max((epoch for curve in curves for epoch in curve.points), default=1)
    x = Axis(0, max(last, 1), _LEFT + 6, _RIGHT - 6)
    y = Axis(min([0.0, *values]), top or max([*values, 1e-9]) * 1.02, _BOTTOM, 14)
    chart = Chart(name, title, desc, _WIDTH, 238, least=330)
    _frame(chart, x, y, "epoch")
    for curve in sorted(curves, key=lambda c: ("twin", "torch", "jittor").index(c.kind)):
        points = [(x(epoch), y(value)) for epoch, value in curve.points.items() if math.isfinite(value)]
        chart.line(points, f"line {curve.kind}{' dashed' if curve.dashed else ''}")
        if len(points) < 12 and curve.kind != "twin":
            chart.dots(points, f"dot large {curve.kind}")
    return chart.render()
