"""Drawing: an axis of numbers or of decades, and marks in a frame, as inline SVG whose colours the style sheet sets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from parity.html.words import safe

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """Where a value lies along an axis.

    Attributes:
        low: the value at ``start``.
        high: the value at ``end``.
        start: in pixels.
        end: likewise.
        log: whether decades are of one length; values beyond either end are drawn at it.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        if math.isnan(value):
            return self.end
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        at = (math.log10(value) if value > 0 else low) if self.log else value
        part = (min(max(at, low), high) - low) / ((high - low) or 1.0)
        return self.start + part * (self.end - self.start)

    def decades(self, every: int = 1) -> list[float]:
        """Return the powers of ten on a logarithmic axis, every so many."""
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        return [10.0**power for power in range(first, last + 1) if power % every == 0]

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values on an axis of numbers."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        step = 10.0 ** math.floor(math.log10(span / most))
        step = next(step * by for by in (1, 2, 5, 10) if span / (step * by) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass
class Chart:
    """A picture that is put together mark by mark.

    Attributes:
        name: of its element, unique on the page.
        title: what it shows, in a line.
        desc: what is to be seen in it, for those who do not see it.
        width: in pixels of its own.
        height: likewise.
        least: width below which it is not drawn smaller but scrolls.
    """

    name: str
    title: str
    desc: str
    width: float
    height: float
    least: int = 560
    parts: list[Markup] = field(default_factory=list)

    def add(self, markup: str, *texts: object) -> None:
        """Add an element; what it holds is escaped."""
        self.parts.append(Markup(markup).format(*(safe(t) if isinstance(t, str) else t for t in texts)))

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """Write a text."""
        self.add('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>', _n(x), _n(y), kind, anchor, text)

    def rule(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Draw a straight line."""
        self.add('<path class="{}" d="M{} {}L{} {}"/>', kind, _n(x1), _n(y1), _n(x2), _n(y2))

    def box(self, x: float, y: float, width: float, height: float, kind: str, title: str = "") -> None:
        """Draw a rectangle, which says ``title`` to who points at it."""
        shape = '<rect class="{}" x="{}" y="{}" width="{}" height="{}"'
        shape += "><title>{}</title></rect>" if title else "/>"
        self.add(shape, kind, _n(x), _n(y), _n(width), _n(height), *([title] if title else []))

    def dots(self, points: Iterable[Point], kind: str) -> None:
        """Draw a dot at each point; of those that fall on each other one."""
        places = dict.fromkeys((_half(x), _half(y)) for x, y in points)
        if places:
            self.add('<path class="{}" d="{}"/>', kind, "".join(f"M{x} {y}h0" for x, y in places))

    def crosses(self, points: Iterable[Point], kind: str, size: float = 3) -> None:
        """Draw a cross at each point, likewise."""
        places = dict.fromkeys((_half(x - size), _half(y - size)) for x, y in points)
        if places:
            s = _n(2 * size)
            self.add('<path class="{}" d="{}"/>', kind, "".join(f"M{x} {y}l{s} {s}m-{s} 0l{s}-{s}" for x, y in places))

    def line(self, points: Sequence[Point], kind: str) -> None:
        """Draw a line through points."""
        if points:
            self.add('<path class="{}" d="M{}"/>', kind, "L".join(f"{_n(x)} {_n(y)}" for x, y in points))

    def area(self, upper: Sequence[Point], lower: Sequence[Point], kind: str) -> None:
        """Fill what lies between two lines."""
        if upper:
            path = "L".join(f"{_n(x)} {_n(y)}" for x, y in [*upper, *reversed(lower)])
            self.add('<path class="{}" d="M{}Z"/>', kind, path)

    def left_axis(self, axis: Axis, right: float, values: Sequence[float], texts: Sequence[str]) -> None:
        """Draw lines across the frame with their values at the left."""
        left = 52.0
        for value, text in zip(values, texts, strict=True):
            self.rule(left, axis(value), right, axis(value), "grid")
            self.text(left - 6, axis(value) + 4, text, anchor="end")

    def render(self) -> Markup:
        """Return the element, in a box in which it scrolls where the page is narrow."""
        return Markup(
            '<div class="scroll chart" tabindex="0" role="group" aria-label="{title}">'
            '<svg viewBox="0 0 {width} {height}" style="min-width:{least}px;max-width:{width}px" role="img" '
            'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{title}</title>'
            '<desc id="{name}-d">{desc}</desc>{body}</svg></div>'
        ).format(
            name=safe(self.name),
            title=safe(self.title),
            desc=safe(self.desc),
            width=_n(self.width),
            height=_n(self.height),
            least=self.least,
            body=Markup("").join(self.parts),
        )


def power(value: float) -> str:
    """Return a power of ten as a label."""
    return f"1e{round(math.log10(value))}" if value != 1 else "1"


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _half(value: float) -> str:
    return _n(round(value * 2) / 2)
