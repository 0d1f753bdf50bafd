"""How much a step has to do, and which of its sizes grow: ``--over`` of ``parity bench``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from detr_common.errors import InputError
from detr_common.images import MIN_SIDE
from parity.arguments import sides_in
from parity.usage import did_you_mean


@dataclass(frozen=True)
class Load:
    """How much a step has to do.

    Attributes:
        size: height and width of the images in pixels.
        batch_size: images of a step.
        num_queries: of the decoder.
        enc_layers: of the encoder.
        dec_layers: of the decoder.
    """

    size: tuple[int, int]
    batch_size: int
    num_queries: int
    enc_layers: int
    dec_layers: int

    def options(self) -> dict[str, int]:
        """Return all but the size, as options of the detector and its training."""
        return {name: value for name, value in vars(self).items() if name != "size"}


@dataclass(frozen=True)
class Kind:
    """A size that can grow.

    Attributes:
        values: that are measured unless others are given, as ``--over`` takes them.
        changed: returns a load with another value.
        amount: returns the value of a load as a number; of an area, pixels.
    """

    values: str
    changed: Callable[[Load, str], Load]
    amount: Callable[[Load], int]


@dataclass(frozen=True)
class Variable:
    """A size that grows while the others stay.

    Attributes:
        name: one of ``KINDS``.
        loads: at least two, the smallest first.
    """

    name: str
    loads: tuple[Load, ...]

    def amounts(self) -> list[int]:
        """Return the value at each load; of areas, pixels."""
        return [KINDS[self.name].amount(load) for load in self.loads]

    def labels(self) -> list[str]:
        """Return the value at each load for people."""
        if self.name == "area":
            return ["x".join(map(str, load.size)) for load in self.loads]
        return [str(amount) for amount in self.amounts()]


def parse_size(option: str, text: str) -> tuple[int, int]:
    """Return height and width in pixels of ``N`` or ``HxW``.

    Raises:
        InputError: names the option; it is no size, or one of less than 32 pixels.
    """
    sides = sides_in(text)
    if not sides or min(sides) < MIN_SIDE:
        raise InputError(f"{option} {text}: a size is N or HxW, at least {MIN_SIDE} pixels each, as 512 or 800x1066")
    return sides[0], sides[-1]


def parse_over(text: str, base: Load) -> list[Variable]:
    """Return what grows.

    Args:
        text: names of ``KINDS`` with commas between them, each alone or with values, as ``area,batch=1:2:4``.
        base: the values of what does not grow.

    Raises:
        InputError: there is no such name, a value cannot be used, or there is nothing to compare.
    """
    variables: dict[str, Variable] = {}
    for part in text.split(","):
        name, given, values = part.strip().partition("=")
        if name not in KINDS:
            raise InputError(f"--over: there is no {name!r}{did_you_mean(name, KINDS)}; {', '.join(KINDS)}")
        if name in variables:
            raise InputError(f"--over: {name} is given twice; give it once, with all values")
        variables[name] = _variable(name, values if given else KINDS[name].values, base)
    return list(variables.values())


def _variable(name: str, values: str, base: Load) -> Variable:
    kind = KINDS[name]
    loads = {kind.amount(load): load for load in (kind.changed(base, text) for text in values.split(":"))}
    if len(loads) < len(values.split(":")):
        raise InputError(f"--over {name}={values}: two values are as large as each other; leave one of them out")
    if len(loads) < 2:
        raise InputError(f"--over {name}={values}: growth needs two values or more, as {name}={kind.values}")
    return Variable(name, tuple(loads[amount] for amount in sorted(loads)))


def _whole(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()) or int(text) < 1:
        raise InputError(f"--over {name}: {text!r} is no whole number of at least 1; as {name}={KINDS[name].values}")
    return int(text)


def _layers(base: Load, text: str) -> Load:
    layers = _whole("layers", text)
    return replace(base, enc_layers=layers, dec_layers=layers)


KINDS = {
    "area": Kind(
        "128:256:384:512",
        lambda base, text: replace(base, size=parse_size("--over area", text)),
        lambda load: load.size[0] * load.size[1],
    ),
    "batch": Kind(
        "1:2:4:8", lambda base, text: replace(base, batch_size=_whole("batch", text)), lambda load: load.batch_size
    ),
    "queries": Kind(
        "25:100:200:400",
        lambda base, text: replace(base, num_queries=_whole("queries", text)),
        lambda load: load.num_queries,
    ),
    "layers": Kind("1:2:4:6", _layers, lambda load: load.dec_layers),
}
