"""The judge on hand-made traces: what it must find, and that nothing compared is not a pass."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity import rungs
from parity.judge import Judge
from parity.policy import Calibrated32, Exact64, Steps
from parity.rungs import PORT, REFERENCE, RUNS
from parity.steps_verdict import StepsVerdict
from parity.trace import Entry
from parity.verdict import LayersVerdict

RNG = np.random.default_rng(0)
VALUES = {name: RNG.standard_normal((4, 5)) for name in ("a", "b", "c")}


def verdict_of(judge: Judge, modules: Collection[str] = ()) -> LayersVerdict:
    """Return the verdict on what a judge was given, of models with the same modules."""
    workers: Any = {r: SimpleNamespace(modules=modules, resting=[], failure="", label=" ".join(r)) for r in RUNS}
    return judge.verdict(workers, {})


def run(
    changes: dict[tuple[str, str, str], Any] | None = None,
    modules: Any = None,
    failure: str = "",
    resting: tuple[str, ...] = (),
) -> LayersVerdict:
    """Judge modules a, b, c of a chain; ``changes`` replaces entries by (framework, dtype, name); None drops one."""
    judge = Judge(rungs.layers(Exact64(), Calibrated32()))
    for name, truth in VALUES.items():
        for framework, dtype in RUNS:
            noise = 0 if dtype == "float64" else 1e-7 * np.sin(np.arange(20)).reshape(4, 5)
            entry = Entry(
                f"forward/{name}",
                name,
                f"{name}.py:1",
                (truth + noise).astype(dtype.split("-")[0]),
                "",
                "0 = argument 0",
            )
            change = (changes or {}).get((framework, dtype, name), entry)
            if callable(change):
                change = change(entry)
            if change is not None:
                judge.take((framework, dtype), change)
    names = modules or {PORT: ["a", "b", "c"], REFERENCE: ["a", "b", "c"]}
    workers: Any = {
        r: SimpleNamespace(modules=names[r[0]], resting=resting, failure="", label=" ".join(r)) for r in RUNS
    }
    workers[PORT, "float64"].failure = failure
    return judge.verdict(workers, {})


def scaled(factor: float) -> Any:
    return lambda entry: replace(entry, array=(entry.array * factor).astype(entry.array.dtype))


def test_equal_traces_pass() -> None:
    verdict = run()
    assert verdict and verdict.compared == 3 and verdict.modules == 3


def test_an_error_above_the_float64_bound_fails_and_the_first_is_named() -> None:
    wrong = scaled(1 + 3e-12)
    verdict = run({(PORT, "float64", "b"): wrong, (PORT, "float64", "c"): wrong})
    assert not verdict and [j.owner for j in verdict.failures] == ["b", "c"]
    assert verdict.first_divergence is not None and verdict.first_divergence.owner == "b"
    assert "instead of" in verdict.first_divergence.worst


def test_a_float32_error_alone_fails() -> None:
    verdict = run({(PORT, "float32", "c"): scaled(1 + 1e-5)})
    assert not verdict and "float32" in verdict.failures[0].problems[0]


def test_a_tensor_that_one_side_lacks_fails_and_comes_first() -> None:
    gone = {(PORT, dtype, "b"): None for dtype in ("float32", "float64")}
    verdict = run({**gone, (PORT, "float64", "c"): scaled(2)})
    assert not verdict and verdict.missing == ["forward/b"] and verdict.compared == 2
    assert verdict.first_divergence is not None and verdict.first_divergence.name == "forward/b"
    assert "b (never ran in jittor)" in verdict.idle


def test_a_tensor_that_only_the_port_has_fails() -> None:
    verdict = run({(REFERENCE, dtype, "c"): None for dtype in ("float32", "float32-twin", "float64")})
    assert not verdict and verdict.unexpected == ["forward/c"]


def test_a_tensor_of_one_precision_only_fails() -> None:
    verdict = run({(PORT, "float32", "c"): None})
    assert not verdict and verdict.missing == ["forward/c"] and verdict.failures[0].side == "uneven"


@pytest.mark.parametrize("first", ["waiting", "judged"])
def test_two_modules_with_one_name_fail_and_the_rest_is_judged(first: str) -> None:
    """In one run ``forward/a`` comes again: while the other runs' versions are still due, or after them all."""
    last = {(PORT, "float32", "a"): None} if first == "waiting" else {}
    verdict = run({(PORT, "float64", "b"): lambda entry: replace(entry, name="forward/a"), **last})
    assert not verdict and verdict.doubled == ["forward/a in jittor float64"]
    assert verdict.as_dict()["doubled"] == verdict.doubled
    names = [judgement.name for judgement in verdict.judgements]
    assert sorted(names) == ["forward/a", "forward/b", "forward/c"]


def test_two_modules_with_one_name_fail_though_all_else_agrees() -> None:
    assert not replace(run(), doubled=["forward/a in jittor float64"])


def test_another_shape_or_kind_fails_without_broadcasting() -> None:
    for change in (lambda e: replace(e, array=e.array[:1]), lambda e: replace(e, array=e.array > 0)):
        verdict = run({(PORT, "float64", "a"): change})
        assert not verdict and verdict.failures[0].name == "forward/a"


def test_a_failure_is_charged_to_the_caller_that_fed_other_tensors() -> None:
    def fed_otherwise(entry: Entry) -> Entry:
        return replace(entry, array=entry.array * 2, inputs="0 = b", caller="parent")

    verdict = run({(PORT, "float64", "c"): fed_otherwise})
    assert verdict.failures[0].owner == "parent"


def test_modules_that_never_ran_or_that_one_side_lacks_fail() -> None:
    both = {PORT: ["a", "b", "c", "d"], REFERENCE: ["a", "b", "c", "d"]}
    assert run(modules=both).idle == ["d (never ran in torch)", "d (never ran in jittor)"]
    one = {PORT: ["a", "b", "c"], REFERENCE: ["a", "b", "c", "d"]}
    assert not run(modules=one) and "d (only in torch)" in run(modules=one).idle


def test_a_list_of_modules_may_rest_and_any_other_parent_may_not() -> None:
    names = {framework: ["a", "b", "c", "layers", "layers.a"] for framework in (PORT, REFERENCE)}
    assert "layers (never ran in torch)" in run(modules=names).idle
    assert "layers (never ran in torch)" not in run(modules=names, resting=("layers",)).idle
    one = {PORT: ["a", "b", "c", "layers"], REFERENCE: ["a", "b", "c"]}
    assert run(modules=one, resting=("layers",))


def test_a_model_that_raised_fails_though_all_tensors_agree() -> None:
    assert not run(failure="Traceback ...")


def test_nothing_compared_is_not_a_pass() -> None:
    verdict = LayersVerdict([], [], [], [], 0, Exact64(), Calibrated32())
    assert not verdict and verdict.compared == 0


def test_a_float32_run_that_is_float64_fails() -> None:
    """A converter that leaves one weight in float64 makes every later tensor too good to be true."""
    for run_name in ("float32", "float64"):
        other = "float64" if run_name == "float32" else "float32"
        verdict = run({(PORT, run_name, "b"): lambda e, other=other: replace(e, array=e.array.astype(other))})
        assert not verdict and "is due" in verdict.failures[0].problems[0]


def test_a_reference_that_is_not_finite_fails() -> None:
    def with_nan(entry: Entry) -> Entry:
        array = entry.array.copy()
        array[0, 0] = np.nan
        return replace(entry, array=array)

    verdict = run({(framework, dtype, "a"): with_nan for framework, dtype in RUNS})
    assert not verdict and "not finite" in verdict.failures[0].problems[0]


def test_a_mask_that_is_the_same_everywhere_fails() -> None:
    for value, passes in ((np.zeros((4, 5), bool), False), (np.eye(4, 5) > 0, True)):
        as_mask = {(f, d, "a"): lambda e, value=value: replace(e, array=value) for f, d in RUNS}
        assert bool(run(as_mask)) is passes


def test_a_module_that_did_not_run_is_charged_to_its_caller() -> None:
    def in_parent(entry: Entry) -> Entry:
        return replace(entry, caller="parent")

    changes: dict[tuple[str, str, str], Any] = {(f, d, "b"): in_parent for f, d in RUNS if f == REFERENCE}
    changes.update({(f, d, "b"): None for f, d in RUNS if f == PORT})
    first = run(changes).first_divergence
    assert first is not None and first.owner == "parent"


def test_a_scalar_that_jittor_holds_as_one_element_is_judged_and_its_failure_told() -> None:
    for wrong in (0.0, 1e-3):
        judge = Judge(rungs.LOSSES)
        for run in RUNS:
            value = np.full(
                (1,) if run[0] == PORT else (), 2.0 + (wrong if run[0] == PORT else 0.0), run[1].split("-")[0]
            )
            judge.take(run, Entry("loss/total", "criterion", "criterion.py:1", value))
        verdict = verdict_of(judge)
        assert bool(verdict) == (wrong == 0.0)
        assert wrong == 0.0 or "instead of 2" in verdict.judgements[0].worst


def judge_losses(port_error: float, reference_errors: tuple[float, ...]) -> LayersVerdict:
    """Judge one loss of several layers in float32; the port is off in the first, the reference as told in each."""
    judge = Judge(rungs.LOSSES)
    for layer, reference_error in enumerate(reference_errors):
        for run in RUNS:
            off = 0.0
            if run[1] != "float64":
                off = reference_error if run[0] == REFERENCE else port_error if layer == 0 else 0.0
            value = np.full((), 2.0 * (1 + off), run[1].split("-")[0])
            judge.take(run, Entry(f"loss/loss_ce_{layer}", "criterion", "criterion.py:1", value))
    return verdict_of(judge)


def test_a_single_number_is_judged_by_its_kind_in_all_layers() -> None:
    lucky = judge_losses(5e-6, (0.0, 3e-6, 2e-6))
    assert lucky, lucky.first_divergence
    ratio = lucky.judgements[0].ratio
    assert ratio is not None and 1.5 < ratio < 1.9
    assert not judge_losses(15e-6, (0.0, 3e-6, 2e-6)), "five times the largest of its kind"
    assert not judge_losses(5e-6, (0.0,)), "alone, it has nothing to share"


@pytest.mark.parametrize(("calls", "passes"), [(4, [False] * 4 + [True] * 4), (3, [True] * 6)])
def test_kinds_are_told_apart_where_there_are_enough(calls: int, passes: list[bool]) -> None:
    """Of few calls all may be nearly exact by luck, so that other single numbers must say what float32 can do."""
    judge = Judge(rungs.LOSSES)
    for name, off in (("loss/loss_ce", 0.0), ("loss/loss_giou", 1e-4)):
        for number in range(calls):
            for run in RUNS:
                wrong = 0.0 if run[1] == "float64" else off if run[0] == REFERENCE else 5e-5
                array = np.full((), 2.0 * (1 + wrong), run[1].split("-")[0])
                judge.take(run, Entry(f"{name}_{number}", "criterion", "", array))
    verdict = verdict_of(judge)
    assert [bool(j) for j in verdict.judgements] == passes


def test_a_single_number_that_is_wrong_in_float64_fails_however_near_in_float32() -> None:
    judge = Judge(rungs.LOSSES)
    for layer in range(6):
        for run in RUNS:
            wrong = 1e-9 if run[0] == PORT and layer == 3 else 0.0
            value = np.full((), 2.0 * (1 + wrong), run[1].split("-")[0])
            judge.take(run, Entry(f"loss/loss_ce_{layer}", "criterion", "", value))
    verdict = verdict_of(judge)
    assert [bool(j) for j in verdict.judgements] == [True] * 3 + [False] + [True] * 2
    assert verdict.first_divergence is not None and "float64 error" in verdict.first_divergence.problems[0]


@pytest.mark.parametrize(("off", "passes"), [(5, True), (6, False)])
def test_where_single_tensors_may_be_further_off_most_of_them_may_not(off: int, passes: bool) -> None:
    """Of 100 tensors of 5000 numbers so many are 5 times as wrong as PyTorch: allowed to a few, not to 6 in 100."""
    judge = Judge(rungs.layers(Exact64(), Calibrated32(factor=8, factor_max=16, most=3)))
    truth = RNG.standard_normal(5000)
    noise = 1e-5 * RNG.standard_normal(5000)
    for number in range(100):
        for run in RUNS:
            factor = 0 if run[1] == "float64" else 5 if run[0] == PORT and number < off else 1
            value = (truth + factor * noise).astype(run[1].split("-")[0])
            judge.take(run, Entry(f"forward/m{number}", f"m{number}", "", value))
    modules = [f"m{number}" for number in range(100)]
    verdict = verdict_of(judge, modules)
    assert all(verdict.judgements) and bool(verdict) is passes
    assert passes or "95 of 100" in verdict.reason


@pytest.mark.parametrize(("size", "passes"), [(1e-14, True), (1e-9, False)])
def test_a_gradient_counts_as_zero_only_far_below_what_flows_into_its_module(size: float, passes: bool) -> None:
    """As that of a bias of keys, which is zero by symmetry: what is left of it is rounding."""
    judge = Judge(rungs.GRADIENTS)
    flowing = RNG.standard_normal(5000)
    for name, truth in {"gradout/a": flowing, "grad/a.bias": size * flowing}.items():
        for run in RUNS:
            wrong = -1 if run == (PORT, "float64") and name == "grad/a.bias" else 1
            judge.take(run, Entry(name, "a", "", (wrong * truth).astype(run[1].split("-")[0])))
    verdict = verdict_of(judge, ["a"])
    assert bool(verdict) is passes
    assert [j.absolute for j in verdict.judgements] == [False, passes]


def test_a_run_of_steps_that_compared_nothing_is_no_pass_beside_one_that_did() -> None:
    whole = StepsVerdict((), (), (), {"forced": 9, "free": 9}, {}, (), Steps())
    assert whole and not replace(whole, missing=("free",)) and not replace(whole, counts={})
    assert "nothing was compared in the free run" in replace(whole, missing=("free",)).reason
