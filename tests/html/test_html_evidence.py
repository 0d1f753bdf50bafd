"""Evidence on a tensor that failed: complete, bounded, and only of the first failures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity import rungs
from parity.evidence import CELLS, KEPT, look
from parity.judge import Judge
from parity.policy import Calibrated32, Exact64
from parity.rungs import PORT, RUNS
from parity.trace import Entry
from parity.verdict import LayersVerdict

RNG = np.random.default_rng(0)


def seen(value: Any, truth: Any, dtype: str = "float64") -> dict[str, Any]:
    found = look(np.asarray(value), np.asarray(truth), dtype)
    assert found is not None
    return found


def test_every_element_is_counted_once() -> None:
    truth = RNG.standard_normal((7, 5, 33))
    value = truth.copy()
    value[0] += 0.5
    value[1, 0, 0] = np.nan
    found = seen(value, truth)
    spread = found["histogram"]
    assert sum(spread["counts"]) == 165 and spread["not_finite"] == 1 and spread["exact"] == truth.size - 166
    assert len(spread["edges"]) == len(spread["counts"]) + 1


def test_an_error_is_in_its_bin_and_in_its_cell() -> None:
    truth = np.full((2, 300, 200), 4.0)
    value = truth.copy()
    value[1, 299, 0] += 4e-5
    found = seen(value, truth)
    (bin_,) = np.flatnonzero(found["histogram"]["counts"])
    edges = found["histogram"]["edges"]
    assert edges[bin_] <= -5 + 1e-6 and edges[bin_ + 1] >= -5 - 1e-6
    cells = np.array(found["heat"]["cells"])
    assert cells.shape == (CELLS, CELLS) and found["heat"]["rows"] == [0, 1] and found["heat"]["columns"] == [2]
    assert cells[-1, 0] == pytest.approx(1e-5) and np.count_nonzero(cells) == 1
    assert found["worst"]["index"] == [1, 299, 0]
    assert found["worst"]["around"][0] == {"index": [1, 299, 0], "port": 4.00004, "reference": 4.0}


@pytest.mark.parametrize("shape", [(), (1,), (1000,), (3, 1), (1, 1, 1, 7), (2, 8, 36, 36)])
def test_any_shape_has_a_picture(shape: tuple[int, ...]) -> None:
    found = seen(np.ones(shape), np.zeros(shape))
    cells = found["heat"]["cells"]
    assert 1 <= len(cells) <= CELLS and all(1 <= len(row) <= CELLS for row in cells)
    assert sum(found["histogram"]["counts"]) == max(1, int(np.prod(shape)))


def test_integers_and_booleans_are_unlike_or_not() -> None:
    assert seen([1, 2, 3], [1, 5, 3])["histogram"]["exact"] == 2
    assert seen([True, False], [False, False])["worst"]["index"] == [0]


def test_nothing_is_to_be_seen_of_nothing() -> None:
    assert look(np.zeros((0, 3)), np.zeros((0, 3)), "float64") is None


def judged(changed: dict[str, Any]) -> LayersVerdict:
    """Judge ten modules of a chain; ``changed`` tells by name and dtype how far Jittor is off."""
    judge = Judge(rungs.layers(Exact64(), Calibrated32()))
    truth = RNG.standard_normal((4, 5))
    for number in range(10):
        for run in RUNS:
            off = changed.get(f"m{number} {run[1]}", 0.0) if run[0] == PORT else 0.0
            value = (truth * (1 + off)).astype(run[1].split("-")[0])
            judge.take(run, Entry(f"forward/m{number}", f"m{number}", "a.py:1", value))
    workers: Any = {r: SimpleNamespace(modules=[], resting=[], failure="", label=" ".join(r)) for r in RUNS}
    return judge.verdict(workers, {})


def test_only_the_first_failures_keep_evidence() -> None:
    verdict = judged({f"m{number} float64": 1e-6 for number in range(2, 10)})
    with_evidence = [j.name for j in verdict.judgements if j.evidence]
    assert with_evidence == [f"forward/m{number}" for number in range(2, 2 + KEPT)]


def test_a_pass_keeps_no_evidence() -> None:
    assert not any(j.evidence for j in judged({}).judgements)


def test_where_only_float32_fails_that_is_what_is_seen_beside_pytorchs_own() -> None:
    (failure,) = judged({"m4 float32": 1e-3}).failures
    assert failure.evidence is not None and failure.evidence["dtype"] == "float32"
    assert sum(failure.evidence["histogram"]["reference"]) > 0
    (failure,) = judged({"m4 float64": 1e-3}).failures
    assert failure.evidence is not None and failure.evidence["dtype"] == "float64"
    assert failure.evidence["histogram"]["reference"] is None
