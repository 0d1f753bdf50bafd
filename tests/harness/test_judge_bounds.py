"""The judge at its bounds, and where PyTorch's own float32 runs are of no use."""

from __future__ import annotations

import numpy as np
import pytest
from test_judge import verdict_of

from parity import rungs
from parity.judge import Judge
from parity.policy import Calibrated32, Exact64
from parity.rungs import PORT, REFERENCE, RUNS, TWIN, Run
from parity.runs.curves import multiple
from parity.trace import Entry

FLOWING = np.random.default_rng(0).standard_normal(5000)


@pytest.mark.parametrize("runs", [RUNS, RUNS[:2]], ids=["both", "float64"])
@pytest.mark.parametrize(("port", "passes"), [(-1e-14, True), (1.0, False), (np.nan, False)])
def test_what_is_zero_by_symmetry_must_be_so_in_the_port(runs: tuple[Run, ...], port: float, passes: bool) -> None:
    judge = Judge(rungs.GRADIENTS, runs)
    for name, size in {"gradout/a": 1.0, "grad/a.bias": 1e-14}.items():
        for run in runs:
            factor = port if run == (PORT, "float64") and name == "grad/a.bias" else size
            judge.take(run, Entry(name, "a", "", (factor * FLOWING).astype(run[1].split("-")[0])))
    assert bool(verdict_of(judge, ["a"])) is passes


@pytest.mark.parametrize(
    ("rung", "within", "above"),
    [
        (rungs.GRADIENTS, 5e-12, 5e-11),
        (rungs.LOSSES, 5e-13, 1e-10),
        (rungs.layers(Exact64(), Calibrated32()), 5e-13, 5e-12),
    ],
    ids=["gradients", "losses", "layers"],
)
def test_float64_is_judged_by_the_bound_of_its_rung(rung: rungs.Rung, within: float, above: float) -> None:
    name = "grad/a" if rung is rungs.GRADIENTS else "out/a"
    for error, passes in ((within, True), (above, False)):
        judge = Judge(rung)
        for run in RUNS:
            array = np.full(5000, 1 + error if run == (PORT, "float64") else 1.0)
            judge.take(run, Entry(name, "a", "", array.astype(run[1].split("-")[0])))
        assert bool(verdict_of(judge, ["a"])) is passes, error


@pytest.mark.parametrize("run", [(REFERENCE, "float32"), TWIN])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float32_run_of_pytorch_that_is_not_finite_excuses_nothing(run: Run, value: float) -> None:
    judge = Judge(rungs.layers(Exact64(), Calibrated32()))
    for one in RUNS:
        array = FLOWING.astype(one[1].split("-")[0])
        if one == run:
            array[7] = value
        judge.take(one, Entry("out/a", "a", "", array * (-100 if one == (PORT, "float32") else 1)))
    verdict = verdict_of(judge, ["a"])
    assert not verdict and "is not finite, so float32 cannot be judged" in verdict.failures[0].problems[0]


def test_a_curve_with_a_gap_is_in_no_envelope() -> None:
    assert multiple([1.0, 2.0], [2.0, 1.0]) == 2.0 and multiple([], []) == 0.0
    assert multiple([1.0, np.nan, 1.0], [2.0, 2.0, 2.0]) == multiple([np.nan, 1.0], [1.0, 1.0]) == np.inf
