"""Numbers and names as the page shows them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape

# What would change how the rest of a page is read: controls, halves of surrogate pairs, and marks of direction.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")


def number(value: Any) -> float:
    """Return a number of a result, which JSON may hold as a word ("inf", "nan").

    Raises:
        ValueError: it is no number.
        TypeError: likewise.
    """
    return float(value)


def optional(value: Any) -> float | None:
    """Return a number, or None for None."""
    return None if value is None else number(value)


def visible(text: str) -> str:
    """Return a text in which characters that cannot be seen, or that turn others around, are spelt out."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def finalize(value: Any) -> Any:
    """Make every text visible that a template puts out; markup of our own passes."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def safe(text: str) -> Markup:
    """Return a text as markup: visible and escaped."""
    return escape(visible(text))


def short(value: float | None) -> str:
    """Return an error in two digits; a dash for None."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return "0" if value == 0 else f"{value:.1e}"


def ratio(value: float | None) -> str:
    """Return a ratio: how many times."""
    return f"{value:.2f}" if value is not None and value < 1000 else short(value)


def plainly(value: float) -> str:
    """Return a bound as it was set."""
    return re.sub(r"e([+-])0", r"e\1", f"{value:g}") if math.isfinite(value) else short(value)


def digits(value: float) -> str:
    """Return a value of a tensor in nine digits."""
    return f"{value:.9g}" if math.isfinite(value) else short(value)


def count(amount: int, thing: str) -> str:
    """Return an amount of things."""
    return f"{amount:,} {thing}" if amount == 1 else f"{amount:,} {thing}s"


def worst_of(values: Iterable[float]) -> float:
    """Return the largest of some figures; NaN is larger than any."""
    return max(values, key=lambda value: math.inf if math.isnan(value) else value)
