"""Checks of single values of annotation files, and how a value is shown in a message."""

import math


def is_integer(value: object) -> bool:
    """Whether a value of an annotation file is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Whether a value of an annotation file is a finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def shortened(value: object) -> str:
    """Return a value as it is shown in a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
