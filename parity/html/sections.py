"""What the page says of a rung that compares tensor by tensor: coverage, the first divergence, modules, tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from parity.html.charts import depth_chart, heat_map, histogram
from parity.html.tree import Node, module_tree
from parity.html.words import count, digits, number, plainly, short
from parity.policy import Exact64
from parity.verdict import Judgement, LayersVerdict

# Tensors listed of a rung, and names of each gap.
LISTED = 100
NAMED = 20


@dataclass(frozen=True)
class Gap:
    """Names that a coverage lacks, or that are judged otherwise.

    Attributes:
        title: what they are.
        names: the first of them.
        amount: how many there are.
        wrong: whether the rung fails for it.
    """

    title: str
    names: list[str]
    amount: int
    wrong: bool


@dataclass(frozen=True)
class Picture:
    """The evidence of a failed tensor, drawn.

    Attributes:
        dtype: the precision that failed.
        spread: histogram.
        places: heat map.
        legend: lower end of each of its shades, from the lightest on.
        least: what an error must exceed to be shaded, as text.
        around: index and values of both sides around the worst element, and whether it is that one.
        equal: number of elements that are equal.
        not_finite: number of elements that are finite on one side only.
        reference: whether PyTorch's own errors are drawn beside.
    """

    dtype: str
    spread: Markup
    places: Markup
    legend: list[str]
    least: str
    around: list[tuple[str, str, str, bool]]
    equal: int
    not_finite: int
    reference: bool


@dataclass(frozen=True)
class Divergence:
    """A tensor that failed.

    Attributes:
        judgement: on it.
        picture: its evidence, if there is any.
    """

    judgement: Judgement
    picture: Picture | None


@dataclass(frozen=True)
class TensorSection:
    """What the page says of a rung.

    Attributes:
        verdict: of the rung.
        coverage: in words.
        gaps: names that are missing and the like.
        failures: number of tensors that failed.
        first: the first divergence; None if there is none.
        further: the next ones that have evidence.
        chart: errors in the order of execution.
        tree: modules.
        listed: tensors, those that are worst first.
    """

    verdict: LayersVerdict
    coverage: str
    gaps: list[Gap]
    failures: int
    first: Divergence | None
    further: list[Divergence]
    chart: Markup
    tree: Node
    listed: list[Judgement]

    kind = "tensors"

    @property
    def left_out(self) -> int:
        """Tensors that are not listed."""
        return len(self.verdict.judgements) - len(self.listed)


def tensor_section(verdict: LayersVerdict) -> TensorSection:
    """Return what the page says of a rung that compares tensor by tensor."""
    failures = verdict.failures
    divergences = [
        Divergence(judgement, _picture(f"{verdict.rung}-{place}", judgement, verdict.exact))
        for place, judgement in enumerate(failures[:1] + [j for j in failures[1:] if j.evidence])
    ]
    return TensorSection(
        verdict=verdict,
        coverage=_coverage(verdict),
        gaps=_gaps(verdict),
        failures=len(failures),
        first=divergences[0] if divergences else None,
        further=divergences[1:],
        chart=depth_chart(verdict),
        tree=module_tree(verdict),
        listed=verdict.worst_first()[:LISTED],
    )


def _coverage(verdict: LayersVerdict) -> str:
    total = len(verdict.judgements)
    return f"{verdict.compared:,} of {count(total, 'tensor')} compared in {count(verdict.modules, 'module')}"


def _gaps(verdict: LayersVerdict) -> list[Gap]:
    parts = (
        ("only PyTorch has, or one precision lacks", verdict.missing, True),
        ("only Jittor has", verdict.unexpected, True),
        ("modules idle or on one side only", verdict.idle, True),
        ("masks that are the same everywhere, so that what they do is not tested", verdict.unexercised, True),
        ("sent twice, so that two modules seem to have one name", verdict.doubled, True),
        ("zero by symmetry, judged absolutely", verdict.absolute, False),
    )
    return [Gap(title, list(names)[:NAMED], len(names), wrong and bool(names)) for title, names, wrong in parts]


def _picture(name: str, judgement: Judgement, exact: Exact64) -> Picture | None:
    evidence = judgement.evidence
    if not evidence:
        return None
    in_float64 = evidence["dtype"] == "float64"
    # Of float32, what rounding alone leaves is not worth a shade.
    least = exact.bound if in_float64 else 2.0**-23
    places, legend = heat_map(f"heat-{name}", evidence, least)
    spread = evidence["histogram"]
    return Picture(
        dtype=evidence["dtype"],
        spread=histogram(f"spread-{name}", evidence, exact.bound if in_float64 and not exact.by_norm else None),
        places=places,
        legend=legend,
        least=short(least),
        around=_around(evidence["worst"]),
        equal=int(spread["exact"]),
        not_finite=int(spread["not_finite"]),
        reference=spread["reference"] is not None,
    )


def _around(worst: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    return [
        (
            str(list(map(int, place["index"]))),
            digits(number(place["port"])),
            digits(number(place["reference"])),
            list(place["index"]) == list(worst["index"]),
        )
        for place in worst["around"]
    ]


def over(verdict: LayersVerdict) -> str:
    """Return the bound of the ratio of norms in words."""
    bound, small = verdict.calibrated.bound(10**9), verdict.calibrated.bound(1)
    return plainly(bound) + (f", {plainly(small)} if small" if small > bound else "")


def over_max(verdict: LayersVerdict) -> str:
    """Return the bound of the ratio of single elements in words."""
    bound, small = verdict.calibrated.bound_max(10**9), verdict.calibrated.bound_max(1)
    return plainly(bound) + (f", {plainly(small)} if small" if small > bound else "")


def exceeds(value: float, bound: float) -> bool:
    """Whether a figure is above its bound, or none at all."""
    return math.isnan(value) or value > bound
