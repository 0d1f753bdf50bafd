"""AdamW, clipping and the schedule of both packages, on given gradients; their states; what they refuse."""

import ast
from collections.abc import Callable

import numpy as np
import pytest
from observe_optimizer import DROP, DTYPES, FROZEN, SHAPES, STEPS, gradients_of, observe, start
from sides import Array, Arrays, Torch

PACKAGES = ("torch", "jittor")
TRAINED = [name for name in SHAPES if name not in FROZEN]


@pytest.fixture(scope="module")
def alone() -> Arrays:
    """What PyTorch does on its own, each step from where the one before ended."""
    return observe(Torch(), {})


@pytest.fixture(scope="module")
def observed(alone: Arrays, observe_loss: Callable[..., dict[str, Arrays]]) -> dict[str, Arrays]:
    """What both do when each step begins where PyTorch's began, with the gradients that PyTorch has clipped."""
    given = {name: value for name, value in alone.items() if name.split("/")[0] in DTYPES}
    return observe_loss("observe_optimizer", **given)


def roundings(mine: Array, theirs: Array, *scales: Array) -> float:
    """The largest difference in units of the last place of the largest of what went in and what came out."""
    precision = np.finfo(theirs.dtype)
    scale = np.max([np.abs(mine), np.abs(theirs), *map(np.abs, scales)], axis=0)
    return float((np.abs(mine - theirs) / (precision.eps * np.maximum(scale, precision.tiny))).max())


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 2), ("float32", 4)])
def test_teacher_forced_steps(observed: dict[str, Arrays], dtype: str, bound: float) -> None:
    theirs, mine = (observed[package] for package in PACKAGES)
    worst: dict[str, float] = {}
    for step in range(STEPS):
        for name in TRAINED:
            for kind in ("param", "exp_avg", "exp_avg_sq"):
                key = f"{dtype}/{step}/{kind}/{name}"
                before = f"{dtype}/{step - 1}/{kind}/{name}"
                begin = theirs.get(before, start(dtype)[name] if kind == "param" else np.zeros_like(theirs[key]))
                assert mine[key].dtype == theirs[key].dtype == dtype and mine[key].shape == SHAPES[name]
                assert not np.array_equal(theirs[key], begin)
                worst[kind] = max(worst.get(kind, 0), roundings(mine[key], theirs[key], begin))
            assert mine[f"{dtype}/{step}/step/{name}"] == theirs[f"{dtype}/{step}/step/{name}"] == step + 1
        assert roundings(mine[f"{dtype}/{step}/norm"], theirs[f"{dtype}/{step}/norm"]) <= bound
    print(dtype, worst)
    assert max(worst.values()) <= bound, worst


@pytest.mark.parametrize("dtype", DTYPES)
def test_teacher_forcing_changes_nothing_in_torch(alone: Arrays, observed: dict[str, Arrays], dtype: str) -> None:
    for name, value in alone.items():
        if name.startswith(dtype):
            assert np.array_equal(value, observed["torch"][name]), name


@pytest.mark.parametrize("package", PACKAGES)
def test_adamw_is_that_of_the_paper(observed: dict[str, Arrays], package: str) -> None:
    """The update written out, in longer numbers than either package has."""
    side = observed[package]
    beta1, beta2 = np.longdouble(0.9), np.longdouble(0.999)
    for name in TRAINED:
        rate = 1e-5 if "backbone" in name else 1e-4
        p, mean, square = start("float64")[name].astype(np.longdouble), np.longdouble(0), np.longdouble(0)
        for step in range(STEPS):
            g = observed["torch"][f"float64/{step}/grad/{name}"].astype(np.longdouble)
            lr = rate * 0.1 ** (step // DROP)
            mean, square = beta1 * mean + (1 - beta1) * g, beta2 * square + (1 - beta2) * g * g
            unbiased = mean / (1 - beta1 ** (step + 1)), square / (1 - beta2 ** (step + 1))
            p = p - lr * 1e-4 * p - lr * unbiased[0] / (np.sqrt(unbiased[1]) + np.longdouble(1e-8))
            got = side[f"float64/{step}/param/{name}"]
            assert np.abs(got - p).max() <= 1e-14 * np.abs(p).max(), (name, step)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_groups_and_rates(observed: dict[str, Arrays], package: str, dtype: str) -> None:
    side = observed[package]
    groups = [["one", "head.weight", "head.bias", "norm.scale"], ["backbone.conv"]]  # a module's own come first
    assert [str(names).split() for names in side[f"{dtype}/names"]] == groups
    for step in range(STEPS):
        drop = 0.1 ** ((step + 1) // DROP)
        np.testing.assert_allclose(side[f"{dtype}/{step}/lr"], [1e-4 * drop, 1e-5 * drop], rtol=1e-15)
        assert np.array_equal(side[f"{dtype}/{step}/lr"], side[f"{dtype}/{step}/last"])
        assert np.array_equal(side[f"{dtype}/{step}/lr"], observed["torch"][f"{dtype}/{step}/lr"])


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping(observed: dict[str, Arrays], package: str, dtype: str) -> None:
    for step in range(STEPS):
        given = gradients_of(step, dtype)
        norm = np.sqrt(sum((value.astype(np.longdouble) ** 2).sum() for value in given.values()))
        got = observed[package][f"{dtype}/{step}/norm"]
        assert got.dtype == dtype and norm > 0.1
        assert abs(got - norm) <= 4 * np.finfo(dtype).eps * norm
        for name, value in given.items():
            clipped = observed[package][f"{dtype}/{step}/grad/{name}"]
            assert roundings(clipped, (value.astype(np.longdouble) * 0.1 / (norm + 1e-6)).astype(dtype)) <= 4


def test_clipping_of_a_large_tensor_and_of_none(observed: dict[str, Arrays]) -> None:
    errors = {}
    values = np.random.default_rng(3).standard_normal((2000, 2000)).astype(np.float32)
    exact = float(np.sqrt((values.astype(float) ** 2).sum() + 12))
    for package in PACKAGES:
        side = observed[package]
        errors[package] = abs(float(side["clip/large/norm"]) - exact) / exact
        assert roundings(side["clip/small/a"], values * np.float32(1e-6)) == 0
        assert roundings(side["clip/off/a"], values) == 0
        assert side["clip/off/norm"] == side["clip/large/norm"]
        clipped = [side[f"clip/large/{name}"].astype(float) for name in "ab"]
        assert abs(np.sqrt(sum((value**2).sum() for value in clipped)) - 0.1) <= 0.1 * errors[package] + 1e-7
    print(errors)
    assert errors["jittor"] <= 2 * np.finfo(np.float32).eps


@pytest.mark.parametrize("package", PACKAGES)
def test_a_saved_state_goes_on(observed: dict[str, Arrays], package: str) -> None:
    side = observed[package]
    whole = {name.removeprefix("whole/"): value for name, value in side.items() if name.startswith("whole/")}
    assert len(whole) == 4 * len(TRAINED)
    for name, value in whole.items():
        assert np.array_equal(value, side[f"resumed/{name}"]), name


def test_saved_states_have_one_layout(observed: dict[str, Arrays]) -> None:
    first, second = ({k: v for k, v in observed[p].items() if k.startswith("saved/")} for p in PACKAGES)
    assert first.keys() == second.keys() and len(first) == 3 * len(TRAINED) + 2
    for name, value in first.items():
        assert (value.dtype, value.shape) == (second[name].dtype, second[name].shape), name
    assert str(first["saved/schedule"]) == str(second["saved/schedule"])
    groups = [ast.literal_eval(str(side["saved/groups"])) for side in (first, second)]
    assert groups[0] == groups[1] and list(groups[0][0]) == list(groups[1][0])


@pytest.mark.parametrize("package", PACKAGES)
def test_gradients_of_a_loss(observed: dict[str, Arrays], package: str) -> None:
    side = observed[package]
    assert list(side["surface/before"]) == [0, 0] and side["surface/empty"] == 0
    assert side["surface/dropped"] == 0
    for turn in range(3):  # the second time they are not added to the first, the third time those were dropped
        for name in TRAINED:
            assert np.array_equal(side[f"surface/{turn}/{name}"], 2 * start("float64")[name])
    for name in TRAINED:
        assert roundings(side[f"surface/after/param/{name}"], observed["torch"][f"surface/after/param/{name}"]) <= 2


def test_jittor_says_that_eval_stopped_the_gradients(observed: dict[str, Arrays]) -> None:
    assert str(observed["torch"]["surface/eval"]) == ""
    told = str(observed["jittor"]["surface/eval"])
    assert (
        told.startswith(f"InputError: {len(TRAINED)} parameters of the optimizer take no gradient")
        and "train()" in told
    )


REFUSED = {
    "list": "the optimizer state is no dict of",
    "no-state": "the optimizer state is no dict of",
    "no-groups": 'the "param_groups" of the optimizer state are no list',
    "one-group": "the optimizer state has 1 groups of [4] parameters, this optimizer has 2 of [4, 1]",
    "fewer": "the optimizer state has 2 groups of [4, 0] parameters",
    "no-lr": "group 0 has lr = None",
    "nan-lr": "group 0 has lr = nan",
    "betas": "group 0 has betas = (0.9,)",
    "amsgrad": "group 0 has amsgrad",
    "shape": "has shape [2, 3], the parameter has [",
    "kinds": "has state step, momentum, not step, exp_avg, exp_avg_sq",
    "stranger": "state of parameter 77, which is in no group",
    "step": "is array([1., 2.])",
    "gradients/unknown": "unknown other",
    "gradients/missing": "missing one [1]",
    "gradients/shapes": "one has shape [2], not [1]",
    "schedule/empty": "lacks step_size, gamma, base_lrs",
    "schedule/groups": "has base_lrs = [0.1]; this optimizer has 2 groups",
    "options/lr": "--lr -1.0: give a number that is not negative",
    "options/decay": "--weight_decay nan",
    "options/drop": "--lr_drop 0: give a number that is at least 1",
    "nothing": "no parameter that takes a gradient",
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_input_is_refused(observed: dict[str, Arrays], name: str) -> None:
    first, second = (str(observed[package][f"refused/{name}"]) for package in PACKAGES)
    assert first.startswith("InputError: ") and REFUSED[name] in first
    assert first == second


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_changes_where_a_state_is_refused(observed: dict[str, Arrays], package: str) -> None:
    assert observed[package]["refused/unchanged"]
