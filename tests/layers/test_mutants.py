"""Planted faults: each must be found, and named first at the module where it sits; clean twins raise no alarm."""

from __future__ import annotations

from typing import Any

import pytest

from parity.mutants import CATALOGUE
from parity.mutants.kills import SMALL
from parity.mutants.segmentation import MASKED

NAMES = [name for name, mutant in CATALOGUE.items() if mutant.rung == "layers"]

# Run every time; all of them take minutes.
ALWAYS = (
    "conv-padding-missing",
    "dilation-dropped",
    "residual-in-place",
    "position-half-pixel",
    "layernorm-eps",
    "attention-scale-missing",
    "attention-query-key-swapped",
    "attention-mask-inverted",
    "query-pos-missing",
    "no-object-first",
    "mask-attends-to-padding",
    "panoptic-stuff-not-merged",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in NAMES]
)
def test_fault_is_found_where_it_sits(lab: Any, name: str) -> None:
    mutant = CATALOGUE[name]
    verdict = lab.session.compare(lab.job(mutant=name, **{**SMALL, **mutant.options}))
    assert not verdict, f"{mutant.what}: not found"
    first = verdict.first_divergence
    assert first is not None and first.owner == mutant.module, f"{mutant.what}: blamed on {first}"


@pytest.mark.parametrize(
    "options",
    [{}, {"backbone": "resnet50", "dilation": True}, {"position_embedding": "learned"}, {"dec_layers": 3}, MASKED],
    ids=str,
)
@pytest.mark.parametrize("size", [64, pytest.param(96, marks=pytest.mark.slow)])
def test_clean_twin_raises_no_alarm(lab: Any, options: dict[str, Any], size: int) -> None:
    """The configurations under which faults are planted, without a fault."""
    verdict = lab.session.compare(lab.job(size=size, **{**SMALL, **options}))
    assert verdict, verdict.first_divergence
