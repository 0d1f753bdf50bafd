"""The steps rung on tensors made by hand, above all its float32 half: a fault of the catalogue is in float64 too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity.frameworks.training import NAMES_APART
from parity.metrics import ulps_apart
from parity.policy import Steps
from parity.rungs import PORT, REFERENCE, RUNS, SECOND_TWIN, TRUTH, TWIN, Run
from parity.steps import _Comparison
from parity.tally import Tally
from parity.trace import Array, Entry

FREE = (*RUNS, SECOND_TWIN)
PORT32, PORT64 = (PORT, "float32"), (PORT, "float64")
WEIGHTS = np.random.default_rng(0).standard_normal(1000)
# From PyTorch's float32 parameters to those of each other float32 run: a direction as long as the parameters.
AWAY = {run: np.random.default_rng(i).standard_normal(1000) for i, run in enumerate((PORT32, TWIN, SECOND_TWIN), 1)}


def comparison() -> _Comparison:
    return _Comparison(SimpleNamespace(policy=Steps(), model=SimpleNamespace(rate=lambda name: 0.0)))


def versions(name: str, arrays: dict[Run, Array], names: str = "") -> dict[Run, Entry]:
    typed = {run: np.asarray(array).astype(run[1].split("-")[0]) for run, array in arrays.items()}
    return {run: Entry(name, "optimizer", "", array, "", names) for run, array in typed.items()}


def free(times: float, **spoilt: Any) -> _Comparison:
    """One free step in which the port's float32 parameters are some times as far away as the twins'."""
    judged, tally = comparison(), Tally()
    far = {PORT32: times, TWIN: 1.0, SECOND_TWIN: 1.0}
    arrays = {run: WEIGHTS + 1e-4 * far.get(run, 0.0) * AWAY.get(run, 0.0) for run in FREE}
    for which, value in spoilt.items():
        run = {"port": PORT32, "twin": TWIN}[which]
        arrays[run] = np.where(np.arange(1000) == 500, value, arrays[run])
    judged._judge_free(versions("step0/loss/total", dict.fromkeys(FREE, np.ones(()))), tally)
    judged._judge_free(versions("step0/param/a", arrays), tally)
    judged._judge_envelope(0, tally)
    return judged


@pytest.mark.parametrize(("times", "passes"), [(0.1, True), (1.5, True), (3.0, False), (30.0, False)])
def test_the_port_may_be_twice_as_far_as_the_twins(times: float, passes: bool) -> None:
    assert bool(free(times).findings) is not passes


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_parameter_of_the_float32_run_that_is_not_finite_is_found(value: float) -> None:
    assert free(1.0, port=value).findings


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_twin_excuses_nothing(value: float) -> None:
    (found,) = free(1.0, twin=value).findings
    assert "a float32 twin of PyTorch's is not finite" in found.problem
    assert free(1e6, twin=np.nan).findings


def forced(kind: str, arrays: dict[Run, Array], names: str = "") -> _Comparison:
    judged = comparison()
    judged._judge_forced(versions(f"step0/{kind}", arrays, names), 1)
    return judged


@pytest.mark.parametrize(("run", "unit"), [(PORT64, 2.0**-52), (PORT32, 2.0**-23)])
@pytest.mark.parametrize(("ulps", "passes"), [(0, True), (1, True), (20, False), (np.nan, False)])
def test_each_precision_is_judged_by_itself(run: Run, unit: float, ulps: float, passes: bool) -> None:
    ones = np.full(1000, 1.5)
    arrays = dict.fromkeys(RUNS, ones)
    arrays[run] = np.where(np.arange(1000) == 500, ones * (1 + ulps * unit), ones)
    for kind in ("param/a", "exp_avg/a"):
        found = forced(kind, arrays).findings
        assert bool(found) is not passes
        assert all(finding.problem.startswith(f"{run[1]}: ") for finding in found)


@pytest.mark.parametrize(
    ("run", "factor", "passes"),
    [
        (PORT64, 1 + 1e-10, False),
        (PORT32, 1.02, False),
        (PORT32, np.nan, False),
        ((REFERENCE, "float32"), 1.02, True),
        (PORT32, 1 + 1e-7, True),
    ],
)
def test_a_clip_norm_is_judged_in_both_precisions(run: Run, factor: float, passes: bool) -> None:
    norms = np.array([5.0, 3.0, 4.0])
    arrays = dict.fromkeys((run for run in RUNS if run != TWIN), norms)
    arrays[run] = norms * factor
    assert bool(forced("norm", arrays, NAMES_APART.join("ab")).findings) is not passes


@pytest.mark.parametrize("name", ["loss/total", "loss/giou", "lr", "param/a", "norm"])
def test_whatever_a_free_step_has_is_judged_in_float64(name: str) -> None:
    for error, passes in ((1e-12, True), (1e-6, False)):
        judged = comparison()
        arrays = dict.fromkeys(FREE, np.full(3, 0.7))
        arrays[PORT64] = arrays[TRUTH] * (1 + error)
        judged._judge_free(versions(f"step3/{name}", arrays, NAMES_APART.join("ab")), Tally())
        assert bool(judged.findings) is not passes


def test_units_in_the_last_place() -> None:
    ones = np.ones(1000, np.float32)
    for count in (1, 3):
        assert ulps_apart(ones * np.float32(1 + count * 2.0**-23), ones) == count
    off = ones.copy()
    off[3] = np.nan
    assert ulps_apart(off, ones) == ulps_apart(ones, off) == ulps_apart(ones.astype(np.float64), ones) == np.inf
    outlier = ones.copy()
    outlier[0] = 1e6
    wrong = outlier.copy()
    wrong[1:] *= np.float32(1.01)
    assert ulps_apart(wrong, outlier) > 4


def test_the_bounds_are_those_of_the_documentation() -> None:
    steps = Steps()
    assert dict(steps.ulps) == {"float64": 2.0, "float32": 4.0}
    assert (steps.norm, steps.bound, steps.factor, steps.floor_ulps) == (1e-12, 1e-9, 2.0, 4.0)


def moved(far: float, *, gradient: float = 1e-16, ported: float | None = None, name: str = "bias") -> _Comparison:
    """Two free steps after which a parameter, or a buffer, of the port's float64 run is some way off."""
    judged, tally = comparison(), Tally()
    for number in range(2):
        norms = dict.fromkeys(FREE, np.array([1.0, gradient, 1.0]))
        norms[PORT64] = np.array([1.0, gradient if ported is None else ported, 1.0])
        judged._judge_free(versions(f"step{number}/norm", norms, NAMES_APART.join(["bias", "weight"])), tally)
        judged._judge_free(versions(f"step{number}/lr", dict.fromkeys(FREE, np.array([1e-3]))), tally)
        arrays = dict.fromkeys(FREE, np.full(3, 0.1))
        arrays[PORT64] = arrays[TRUTH] + far
        judged._judge_free(versions(f"step{number}/param/{name}", arrays), tally)
    return judged


@pytest.mark.parametrize("name", ["bias", "norm.running_mean"])
def test_where_a_gradient_is_rounding_the_optimizer_may_go_any_way_as_far_as_that_moves_it(name: str) -> None:
    judged = moved(5e-10, name=name)
    assert not judged.findings and list(judged.absolute) == [f"param/{name}"]
    assert moved(1e-7, name=name).findings


@pytest.mark.parametrize(
    "more",
    [{"gradient": 1e-3}, {"ported": 1e-3}, {"gradient": 0.0}, {"name": "weight"}, {"name": "norm.running_var"}],
    ids=str,
)
def test_nothing_else_is_excused(more: dict[str, Any]) -> None:
    assert moved(5e-10, **more).findings


def test_once_there_was_a_gradient_the_parameter_is_judged_as_others_are() -> None:
    judged = moved(0.0, gradient=1e-3)
    norms = versions(
        "step2/norm", dict.fromkeys(FREE, np.array([1.0, 1e-16, 1.0])), NAMES_APART.join(["bias", "weight"])
    )
    judged._judge_free(norms, Tally())
    judged._judge_free(versions("step2/lr", dict.fromkeys(FREE, np.array([1e-3]))), Tally())
    off = {run: np.full(3, 0.1 + 5e-10 * (run == PORT64)) for run in FREE}
    judged._judge_free(versions("step2/param/bias", off), Tally())
    assert judged.findings
