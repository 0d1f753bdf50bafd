"""Which choice of the reference belongs to which call of the port.

A port may write one of two ReLUs as a maximum, or call them in another order. So calls are not taken in their order
alone: each is given the choice that it would nearly make itself, and one that has none makes its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parity.capture import ROOT
from parity.choices import Choices
from parity.trace import Array

RELU, POOL, DROPOUT = "relu", "max_pool", "dropout"

# Of a correct port rounding moves a few choices in ten thousand; of two different calls about half are not the same.
_ALIKE = 0.95


class Labels:
    """Names the calls that choose: by the module that is running, the kind, and how often that was so before.

    Args:
        choices: to impose, or to note.
        pairs: of the label of a call the label of the choice that it is given; None gives each its own.
    """

    def __init__(self, choices: Choices, pairs: dict[str, str] | None = None) -> None:
        self._choices = choices
        self._pairs = pairs
        self._calls: Counter[str] = Counter()
        self.stack: list[str] = []

    def next(self, kind: str) -> str:
        """Return the name of the next choice of a kind."""
        label = f"{self.stack[-1] if self.stack else ROOT}:{kind}"
        count = self._calls[label]
        self._calls[label] += 1
        return f"{label}#{count}" if count else label

    def given(self, label: str, shape: Sequence[int]) -> Array | None:
        """Return the choice to impose; None where there is none of this name and shape."""
        wanted = label if self._pairs is None else self._pairs.get(label, "")
        if wanted not in labels_in(self._choices):
            return None
        choice = self._choices.choice(wanted)
        return choice if choice.ndim == len(shape) and choice.shape[:2] == tuple(shape)[:2] else None


@dataclass(frozen=True)
class Call:
    """A call that chooses, as the port makes it on its own.

    Attributes:
        label: its name (``Labels``).
        x: what it was given.
        output: what it returned.
    """

    label: str
    x: Array
    output: Array

    def likeness(self, choice: Array) -> float:
        """Return the fraction of elements for which a choice of the reference is the call's own."""
        if POOL not in self.label:
            return float(np.mean((self.x > 0) == choice)) if choice.shape == self.x.shape else 0.0
        if choice.shape != self.output.shape:
            return 0.0
        flat = self.x.reshape(*self.x.shape[:2], -1)
        taken = np.take_along_axis(flat, choice.reshape(*choice.shape[:2], -1), 2)
        return float(np.mean(taken.reshape(choice.shape) == self.output))


def labels_in(choices: Choices) -> list[str]:
    """Return the labels of the choices that are given."""
    return [name.partition("/")[2] for name in choices.given or () if name.startswith(("mask/", "index/"))]


def paired(calls: Sequence[Call], choices: Choices) -> dict[str, str]:
    """Give each call the choice of its module that is most like its own, if there is one that is nearly so.

    Args:
        calls: in their order, from a pass in which each made its own choice.
        choices: of the reference.

    Returns:
        The label of a choice by the label of the call.
    """
    left = dict.fromkeys(labels_in(choices))
    pairs = {}
    for call in calls:
        module = call.label.partition("#")[0]
        own = [label for label in left if label.partition("#")[0] == module]
        # Of equal ones that of the same place goes first.
        own.sort(key=lambda label: label != call.label)
        best = max(own, key=lambda label: call.likeness(choices.choice(label)), default="")
        if best and call.likeness(choices.choice(best)) >= _ALIKE:
            pairs[call.label] = best
            del left[best]
    return pairs
