"""The judge of the catalogue, without a framework: each way in which an entry can stop being true is told."""

from __future__ import annotations

import numpy as np
import pytest

from parity.gotchas.check import judge
from parity.gotchas.entry import Gotcha, Relation
from parity.gotchas.values import Outcome, distance, plain


def entry(relation: Relation = Relation.DIFFERS, **changes: object) -> Gotcha:
    error = "RuntimeError" if relation is Relation.RAISES else ""
    return Gotcha("name", "title", "differs", "1", "2", "1", relation=relation, error=error, **changes)  # type: ignore[arg-type]


def value(number: object) -> Outcome:
    return Outcome("value", plain(number))


RAISED = Outcome("raised", detail="RuntimeError: no")
DIED = Outcome("died", detail="SIGSEGV")


def faults(relation: Relation, torch: Outcome, naive: Outcome, correct: Outcome, **changes: object) -> tuple[str, ...]:
    return judge(entry(relation, **changes), {"torch": torch, "naive": naive, "correct": correct}).faults


@pytest.mark.parametrize(
    ("relation", "naive"),
    [(Relation.DIFFERS, value(2.0)), (Relation.RAISES, RAISED), (Relation.DIES, DIED), (Relation.AGREES, value(1.0))],
)
def test_an_entry_that_is_true_has_no_fault(relation: Relation, naive: Outcome) -> None:
    assert faults(relation, value(1.0), naive, value(1.0)) == ()


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("naive", [value(1.0), value(2.0), RAISED, DIED])
def test_a_naive_line_that_does_another_thing_is_told(relation: Relation, naive: Outcome) -> None:
    is_so = {
        Relation.DIFFERS: naive == value(2.0),
        Relation.RAISES: naive == RAISED,
        Relation.DIES: naive == DIED,
        Relation.AGREES: naive == value(1.0),
    }[relation]
    assert bool(faults(relation, value(1.0), naive, value(1.0))) != is_so


def test_another_exception_is_told() -> None:
    assert faults(Relation.RAISES, value(1.0), Outcome("raised", detail="NameError: x"), value(1.0))


def test_a_correct_line_that_stops_agreeing_is_told() -> None:
    for correct in (value(1.1), RAISED, DIED, value([1.0])):
        assert "correct line" in faults(Relation.DIFFERS, value(1.0), value(2.0), correct)[0]
    assert not faults(Relation.DIFFERS, value(1.0), value(2.0), value(1.01), bound=0.02)


def test_a_naive_line_must_be_as_far_apart_as_stated() -> None:
    assert faults(Relation.DIFFERS, value(1.0), value(1.1), value(1.0), apart=0.2)
    assert not faults(Relation.DIFFERS, value(1.0), value(1.3), value(1.0), apart=0.2)


def test_two_lines_that_raise_agree() -> None:
    assert not faults(Relation.DIFFERS, RAISED, value(2.0), RAISED)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (np.array([1.0, 2.0]), np.array([1.0, 4.0]), 0.5),
        (np.array([np.nan, np.inf]), np.array([np.nan, np.inf]), 0.0),
        (np.array([np.nan]), np.array([0.0]), np.inf),
        (np.array([-np.inf]), np.array([np.inf]), np.inf),
        (np.zeros((1, 2)), np.zeros(2), np.inf),
        (np.zeros(2), np.zeros(2), 0.0),
        ([1, "a"], [1, "a"], 0.0),
        ([1, "a"], [1, "b"], np.inf),
        ([1], [1, 2], np.inf),
        (True, 1, np.inf),
        ({"a": 1}, {"b": 1}, np.inf),
        (None, None, 0.0),
    ],
)
def test_distance(one: object, other: object, expected: float) -> None:
    assert distance(plain(one), plain(other)) == expected


def test_an_entry_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="three lines"):
        Gotcha("name", "title", "differs", torch="1", naive="2")
    with pytest.raises(ValueError, match="three lines"):
        Gotcha("name", "title", "differs", "1", "2", "3", not_run="needs a GPU")
