"""Planted faults of losses, gradients and steps: each is found at its place; clean twins raise no alarm."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parity.mutants
from parity.frameworks.base import Batch
from parity.ladder import training_batch
from parity.layers import LayersSession
from parity.mutants import CATALOGUE, sized
from parity.mutants.clean import clean_case
from parity.mutants.kills import Ground
from parity.mutants.segmentation import MASKED

# Run every time; all of them take minutes.
ALWAYS = (
    "auxiliary-weight",
    "matched-by-product",
    "cross-entropy-gradient",
    "bias-frozen",
    "focal-alpha",
    "gradients-not-cleared",
)


@pytest.fixture(scope="module")
def ground(detector_workers: Callable[[], LayersSession], tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(detector_workers(), tmp_path_factory.mktemp("checkpoints"))


def names(rung: str) -> list[str]:
    return [name for name, mutant in CATALOGUE.items() if mutant.rung == rung]


def marked(rung: str) -> list[Any]:
    return [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in names(rung)]


def check_killed(ground: Ground, name: str) -> None:
    kill = ground.kill(CATALOGUE[name])
    assert kill.owner, f"{kill.mutant.what}: not found"
    assert kill.placed, f"{kill.mutant.what}: blamed on {kill.owner}, {kill.at}"
    assert not getattr(kill.verdict, "crashes", ()), "a fault that raises is not found by comparing"


@pytest.mark.parametrize("name", marked("losses"))
def test_fault_of_losses_is_found_where_it_sits(ground: Ground, name: str) -> None:
    check_killed(ground, name)


@pytest.mark.parametrize("name", marked("gradients"))
def test_fault_of_gradients_changes_no_loss_and_is_found(ground: Ground, name: str) -> None:
    assert ground.compare("losses", name, **CATALOGUE[name].options)
    check_killed(ground, name)


@pytest.mark.parametrize("name", marked("steps"))
def test_fault_of_steps_is_found_where_it_sits(ground: Ground, name: str) -> None:
    check_killed(ground, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decay-coupled", "dropout-off"])
def test_fault_of_steps_changes_no_gradient(ground: Ground, name: str) -> None:
    assert ground.compare("gradients", name, **CATALOGUE[name].options)


@pytest.mark.slow
def test_nothing_is_left_of_a_fault_when_a_clean_model_is_built(ground: Ground) -> None:
    assert not ground.compare("steps", "adam-second-beta")
    assert ground.compare("steps")


def without_objects() -> Batch:
    batch = training_batch(64)
    return Batch(batch.images, [np.zeros(0, np.int64)] * 3, [np.zeros((0, 4), np.float32)] * 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rung", "options", "batch"),
    [
        ("losses", {"num_queries": 2}, None),
        ("losses", {}, without_objects()),
        ("gradients", {"pre_norm": True, "seed": 3}, None),
        ("gradients", {"num_queries": 2}, None),
        ("gradients", {}, without_objects()),
        ("steps", {"lr_drop": 1}, None),
        ("steps", {"dropout": 0.1, "pre_norm": True}, None),
        ("steps", {"seed": 5}, without_objects()),
        ("losses", MASKED, None),
        ("gradients", {**MASKED, "frozen_weights": "detector.pth"}, None),
    ],
    ids=str,
)
def test_clean_twin_raises_no_alarm(ground: Ground, rung: str, options: dict[str, Any], batch: Batch | None) -> None:
    """Configurations that faults are planted in, and harder ones: few queries, nothing to find."""
    verdict = ground.compare(rung, batch=batch, **options)
    assert verdict, verdict.first_divergence


def test_every_fault_of_the_catalogue_can_be_planted_and_every_other_is_in_it() -> None:
    planted = []
    for file in Path(parity.mutants.__file__).parent.glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        planted += [c.args[0].value for c in calls if getattr(c.func, "id", "") == "fault"]
    assert sorted(planted) == sorted(name for name, mutant in CATALOGUE.items() if mutant.rung != "data")
    assert len({mutant.name for mutant in CATALOGUE.values()}) == len(CATALOGUE)


def test_a_size_is_planted_instead_of_a_faults_own() -> None:
    assert sized("auxiliary-weight").size == 1e-6
    assert sized("auxiliary-weight=3e-9").size == 3e-9
    assert sized(sized("auxiliary-weight=3e-9").planted) == sized("auxiliary-weight=3e-9")
    for bad in ("auxiliary-weight=0", "auxiliary-weight=nan", "auxiliary-weight=much", "giou-negated=1"):
        with pytest.raises(ValueError, match=r"size|float"):
            sized(bad)


@pytest.mark.parametrize("number", range(40))
def test_clean_cases_are_usable_and_always_the_same(number: int) -> None:
    case, again = clean_case(number), clean_case(number)
    assert str(case) == str(again)
    assert all(np.array_equal(a, b) for a, b in zip(case.batch.boxes, again.batch.boxes, strict=True))
    assert all(len(boxes) == len(labels) for boxes, labels in zip(case.batch.boxes, case.batch.labels, strict=True))
