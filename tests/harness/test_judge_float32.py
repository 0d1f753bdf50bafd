"""Float32 alone: the port's float64 run is not there, and PyTorch's float64 is the truth all the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity import rungs
from parity.judge import Judge
from parity.policy import Calibrated32, Exact64
from parity.rungs import PORT, REFERENCE, RUNS_OF, TRUTH, foremost
from parity.trace import Entry
from parity.verdict import LayersVerdict

RUNS = RUNS_OF["float32"]
VALUES = np.random.default_rng(0).standard_normal((50, 100))
NOISE = 1e-6 * np.sin(np.arange(VALUES.size)).reshape(VALUES.shape)


def run(factor: float = 1.0, lacking: Any = None) -> LayersVerdict:
    """Judge one tensor, whose float32 error in the port is some times the reference's."""
    judge = Judge(rungs.layers(Exact64(), Calibrated32()), RUNS)
    for one in RUNS:
        noise = 0.0 if one == TRUTH else NOISE * (factor if one[0] == PORT else 1.0)
        array = (VALUES + noise).astype(one[1].split("-")[0])
        if one != lacking:
            judge.take(one, Entry("forward/a", "a", "a.py:1", array))
    workers: Any = {one: SimpleNamespace(modules=["a"], resting=[], failure="", label=" ".join(one)) for one in RUNS}
    return judge.verdict(workers, {})


def test_the_truth_stays_and_the_port_in_float64_does_not() -> None:
    assert TRUTH in RUNS and (PORT, "float64") not in RUNS
    assert foremost(PORT, RUNS) == (PORT, "float32") and foremost(REFERENCE, RUNS) == TRUTH


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (6.0, False)])
def test_float32_is_judged_against_the_truth(factor: float, passes: bool) -> None:
    verdict = run(factor)
    assert bool(verdict) is passes and verdict.compared == 1
    assert verdict.in_float32 and not verdict.in_float64
    assert (verdict.worst_ratio > 2) is not passes
    if not passes:
        assert verdict.failures[0].evidence is not None and verdict.failures[0].evidence["dtype"] == "float32"
        assert [problem.split()[0] for problem in verdict.failures[0].problems] == ["float32"]


def test_what_the_port_lacks_is_missing() -> None:
    verdict = run(lacking=(PORT, "float32"))
    assert not verdict and verdict.missing == ["forward/a"] and verdict.compared == 0
