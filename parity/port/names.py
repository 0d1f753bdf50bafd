"""Names of modules and weights: which of the port's is which of the reference's."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detr_common.errors import InputError


class Renames:
    """Turns names of the port into those of the reference.

    A rule names a module or a weight of the port by its path and tells the reference's; it holds for all that lies
    below. ``*`` stands for one part of a path, and takes along what it stood for. Of several rules that fit, the one
    with the most parts holds.

    Args:
        rules: paths of the reference by paths of the port, as ``{"blocks.*.mlp": "layers.*.feed_forward"}``.

    Raises:
        InputError: a rule is empty or has more ``*`` on the right than on the left.
    """

    def __init__(self, rules: Mapping[str, str]) -> None:
        self._rules = [(port.split("."), reference.split(".")) for port, reference in rules.items()]
        for port, reference in self._rules:
            text = f"{'.'.join(port)} -> {'.'.join(reference)}"
            if not all(port) or not all(reference):
                raise InputError(f"renames: {text}: both paths need names between their dots")
            if port.count("*") < reference.count("*"):
                raise InputError(f"renames: {text}: has more * on the right than on the left")
        self._rules.sort(key=lambda rule: (-len(rule[0]), rule[0].count("*")))
        self.used: set[str] = set()

    def __call__(self, name: str) -> str:
        """Return the reference's name of a module or weight of the port."""
        parts = name.split(".")
        for port, reference in self._rules:
            stars = _fit(port, parts)
            if stars is not None:
                self.used.add(".".join(port))
                taken = iter(stars)
                return ".".join([*(next(taken) if one == "*" else one for one in reference), *parts[len(port) :]])
        return name

    def check(self, names: Iterable[str]) -> dict[str, str]:
        """Return the reference's names by the port's.

        Raises:
            InputError: two names become one.
        """
        renamed: dict[str, str] = {}
        sources: dict[str, str] = {}
        for name in names:
            new = renamed[name] = self(name)
            if new in sources:
                raise InputError(f"renames: {sources[new]} and {name} of the port both become {new}; mend the rules")
            sources[new] = name
        return renamed

    @property
    def unused(self) -> list[str]:
        """Rules that fitted no name so far."""
        return [path for path in (".".join(port) for port, _ in self._rules) if path not in self.used]


def _fit(rule: Sequence[str], parts: Sequence[str]) -> list[str] | None:
    """Return what each ``*`` of a rule stands for at the beginning of a path; None if it does not fit."""
    if len(parts) < len(rule) or any(r not in ("*", p) for r, p in zip(rule, parts, strict=False)):
        return None
    return [p for r, p in zip(rule, parts, strict=False) if r == "*"]


def matches(pattern: str, name: str) -> bool:
    """Whether a path is, or lies below, one that may have ``*`` for a part."""
    return _fit(pattern.split("."), name.split(".")) is not None


def is_ignored(pattern: str, name: str) -> bool:
    """Whether a module's path is one that may have ``*`` for a part, and ``**`` at the end for all that lies below."""
    if pattern.endswith(".**"):
        return matches(pattern[:-3], name) and len(name.split(".")) >= len(pattern.split("."))
    return matches(pattern, name) and len(name.split(".")) == len(pattern.split("."))


@dataclass(frozen=True)
class WeightsVerdict:
    """The verdict of the weights rung: each weight of the reference has one of the port, of its shape.

    Attributes:
        matched: number of weights that have.
        missing: weights of the reference that the port lacks.
        unexpected: weights of the port that the reference lacks, by the reference's names where a rule renames them.
        shapes: name, shape in the reference and in the port, where they differ.
        unused: rules of ``renames`` and paths of ``ignore`` that fitted nothing.
        differing: weights that were not bitwise the same when read back from the port.
        constants: buffers that begin with other values in the port, with the largest error as a fraction of the
            reference's largest value. The reference's take their place, so that no other rung would see it.
        settings: what was run.
        rung: its name.
        suggested: rules that would explain many of those that are missing (``parity.port.suggest``).
        explained: what they explain: names in ``missing`` by names in ``unexpected``.
    """

    matched: int
    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    shapes: Sequence[tuple[str, Sequence[int], Sequence[int]]] = ()
    unused: Sequence[str] = ()
    differing: Sequence[str] = ()
    constants: Mapping[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    rung: str = "weights"
    suggested: Mapping[str, str] = field(default_factory=dict)
    explained: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.matched > 0 and not (
            self.missing or self.unexpected or self.shapes or self.unused or self.differing or self.constants
        )

    @property
    def compared(self) -> int:
        """Number of weights that both have."""
        return self.matched

    @property
    def reason(self) -> str:
        """Why it is no pass, in a line; empty for a pass."""
        return "" if self else self.problems()[0]

    def problems(self) -> list[str]:
        """Return a line for each thing that is wrong, with what could mend it."""
        lines = [f"{name} is {list(r)} in PyTorch and {list(p)} in Jittor" for name, r, p in self.shapes]
        if self.suggested:
            rules = {**self.settings.get("renames", {}), **self.suggested}
            amount = f"{len(self.explained)} of the {len(self.missing)} weights that only PyTorch has"
            lines.append(f"{amount} would match with renames={rules}")
        found = set(self.explained.values())
        left = [name for name in self.unexpected if name not in self.explained]
        for name in self.missing:
            if name in found:
                continue
            near = difflib.get_close_matches(name, left, n=1, cutoff=0.5)
            hint = f"; is it {near[0]}? then renames={{{near[0]!r}: {name!r}}}" if near else ""
            lines.append(f"only PyTorch has {name}{hint}")
        unsaved = self.settings.get("unsaved", ())
        kept_out = ", which PyTorch keeps out of its state dict: so does Jittor if its name begins with an underscore"
        lines += [f"only Jittor has {name}{kept_out if name in unsaved else ''}" for name in left]
        lines += [f"renames or ignore: {path!r} fits nothing; take it out or mend it" for path in self.unused]
        lines += [f"{name} is not the same when read back from the port" for name in self.differing]
        lines += [
            f"{name} begins with other values in the port, {error:.3g} of the largest away; all other rungs run on the "
            f"reference's: compute it alike, or ignore={[name]} if it is to be loaded"
            for name, error in self.constants.items()
        ]
        return lines or (["there is no weight to compare"] if not self.matched else [])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for ``--json``."""
        return {
            "rung": self.rung,
            "passed": bool(self),
            "compared": self.matched,
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "shapes": [{"name": n, "reference": list(r), "port": list(p)} for n, r, p in self.shapes],
            "unused": list(self.unused),
            "differing": list(self.differing),
            "constants": dict(self.constants),
            "suggested": dict(self.suggested),
            "explained": dict(self.explained),
            "problems": self.problems(),
            "settings": self.settings,
        }
