"""The modules of a rung as a tree, each with the worst of what it and those inside it computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from parity.verdict import LayersVerdict


@dataclass
class Node:
    """A module.

    Attributes:
        name: the last name of its path, or more of it where nothing else is on the way.
        path: all of it.
        tensors: that it and the modules inside it computed.
        failing: of them.
        error64: the worst float64 error of them; None where none was measured.
        ratio: the worst float32 ratio, likewise.
        inside: modules inside it, in the order of execution.
    """

    name: str
    path: str
    tensors: int = 0
    failing: int = 0
    error64: float | None = None
    ratio: float | None = None
    inside: dict[str, Node] = field(default_factory=dict)

    @property
    def children(self) -> Sequence[Node]:
        """The modules inside, for the page."""
        return list(self.inside.values())

    def take(self, failed: bool, error64: float | None, ratio: float | None) -> None:
        """Count a tensor."""
        self.tensors += 1
        self.failing += failed
        self.error64 = _worse(self.error64, error64)
        self.ratio = _worse(self.ratio, ratio)


def _worse(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def module_tree(verdict: LayersVerdict) -> Node:
    """Return the root of the tree of all modules that computed a tensor."""
    root = Node("", "")
    for judgement in verdict.judgements:
        absolute = judgement.absolute
        error = None if judgement.error64 is None or absolute else verdict.exact.size(judgement.error64)
        times = None if absolute else judgement.ratio
        node = root
        node.take(not judgement, error, times)
        for name in judgement.owner.split("."):
            path = f"{node.path}.{name}" if node.path else name
            node = node.inside.setdefault(name, Node(name, path))
            node.take(not judgement, error, times)
    for node in root.inside.values():
        _shorten(node)
    return root


def _shorten(node: Node) -> None:
    """Join a module that holds nothing but one other with it."""
    while len(node.inside) == 1:
        (only,) = node.inside.values()
        if only.tensors != node.tensors:
            break
        node.name, node.path, node.inside = f"{node.name}.{only.name}", only.path, only.inside
    for inside in node.inside.values():
        _shorten(inside)


def percent(error: float | None, low: float = 1e-17) -> float | None:
    """Return where an error lies on a strip from ``low`` to 1 with decades of one length; None for none."""
    if error is None:
        return None
    if error <= low:
        return 0.0
    return min(100.0, 100 * (math.log10(error / low) / -math.log10(low))) if math.isfinite(error) else 100.0
