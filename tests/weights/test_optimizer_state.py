"""The state of an optimizer is looked at before it is used: what does not fit is refused, with the parameter's name."""

import copy

import numpy as np
import pytest
import torch

from weight_convert import CheckpointError, check_optimizer, read, write


@pytest.fixture
def model():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2), torch.nn.Linear(5, 5))


@pytest.fixture
def groups(model):
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    return [
        {name: shape for name, shape in shapes.items() if not name.startswith("0.")},
        {name: shape for name, shape in shapes.items() if name.startswith("0.")},
    ]


def state_of(model, kind=torch.optim.AdamW, **options):
    optimizer = kind([{"params": model[1:].parameters()}, {"params": model[0].parameters(), "lr": 1e-5}], **options)
    for _ in range(2):
        model[1](model[0](torch.ones(6, 3))).sum().backward()
        optimizer.step()
    return optimizer.state_dict()


@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"foreach": True, "maximize": True}, {"capturable": False}])
def test_what_pytorch_saves_fits_its_own_parameters(tmp_path, model, groups, options):
    state = state_of(model, **options)
    assert set(state["state"]) == {0, 1, 4, 5}  # the third layer never had a gradient
    check_optimizer(state, groups)
    for suffix in ("pth", "pkl"):
        torch.save(state, tmp_path / "a.pth")
        write(read(tmp_path / "a.pth"), tmp_path / f"b.{suffix}")
        check_optimizer(read(tmp_path / f"b.{suffix}"), groups)


def test_older_forms_fit(model, groups):
    state = state_of(model)
    for kept in state["state"].values():
        kept["step"] = int(kept["step"])
    check_optimizer(state, groups)
    check_optimizer({"state": {}, "param_groups": state["param_groups"]}, groups)
    named = torch.optim.AdamW(
        [{"params": [(name, torch.ones(shape)) for name, shape in one.items()]} for one in groups]
    )
    check_optimizer(named.state_dict(), groups)


def damaged(state, change):
    state = copy.deepcopy(state)
    change(state)
    return state


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(state):
        for key in path:
            state = state[key]
        state[last] = value

    return change


def drop(*path):
    def change(state):
        for key in path[:-1]:
            state = state[key]
        del state[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("param_groups"), "not the state of an optimizer in PyTorch's layout"),
        (drop("state"), "not the state of an optimizer in PyTorch's layout"),
        (lambda s: s["param_groups"].pop(), "has 1 parameter groups, this run has 2"),
        (lambda s: s["param_groups"].reverse(), "group 0 has 2 parameters, this run has 4 there (1.weight ... 2.bias)"),
        (lambda s: s["param_groups"][1]["params"].pop(), "group 1 has 1 parameters, this run has 2 there"),
        (put("param_groups", 1, "params", None), "group 1 has no list of indices"),
        (put("param_groups", 1, "params", [4, "5"]), "group 1 has no list of indices"),
        (put("param_groups", 1, "params", [4, 0]), "1.weight and 0.bias both have index 0"),
        (
            put("param_groups", 1, "params", [5, 4]),
            "exp_avg of 0.bias is of shape [4, 3], the parameter is of shape [4]",
        ),
        (put("state", 17, {}), "keeps a state for index 17, which is in no group"),
        (put("state", "0", {}), "keeps a state for index '0', which is in no group"),
        (
            put("state", 4, "exp_avg", np.zeros((3, 4))),
            "exp_avg of 0.weight is of shape [3, 4], the parameter is of shape",
        ),
        (put("state", 4, "exp_avg_sq", np.zeros((4, 3), "i8")), "exp_avg_sq of 0.weight is of int64, not of floats"),
        (put("state", 4, "exp_avg_sq", 0.5), "exp_avg_sq of 0.weight is a float"),
        (put("state", 4, "max_exp_avg_sq", np.zeros(3)), "max_exp_avg_sq of 0.weight is of shape [3]"),
        (put("state", 4, None), "keeps a NoneType for 0.weight"),
        (put("state", 4, "step", -1), "step of 0.weight is -1, not a count"),
        (put("state", 4, "step", 1.5), "step of 0.weight is 1.5, not a count"),
        (put("state", 4, "step", float("nan")), "step of 0.weight is nan, not a count"),
        (put("state", 4, "step", np.zeros(2)), "step of 0.weight is [0. 0.], not a count"),
        (put("state", 4, "step", True), "step of 0.weight is True, not a count"),
        (drop("state", 5, "exp_avg"), "lacks exp_avg of 0.bias"),
        (put("param_groups", 0, "lr", None), "group 0 has no number under 'lr'"),
        (put("param_groups", 0, "lr", float("inf")), "group 0 has no number under 'lr'"),
        (drop("param_groups", 1, "eps"), "group 1 has no number under 'eps'"),
        (put("param_groups", 1, "betas", 0.9), "group 1 has no pair of numbers under 'betas'"),
        (put("param_groups", 1, "betas", (0.9, None)), "group 1 has no pair of numbers under 'betas'"),
        (
            put("param_groups", 1, "param_names", ["0.bias", "0.weight"]),
            "group 1 has 0.bias where this run has 0.weight",
        ),
        (put("param_groups", 1, "param_names", ["0.weight"]), "group 1 has 1 names for 2 parameters"),
    ],
)
def test_what_does_not_fit_is_named(model, groups, change, message):
    with pytest.raises(CheckpointError) as caught:
        check_optimizer(damaged(state_of(model), change), groups, "run.pth: optimizer")
    assert str(caught.value).startswith("run.pth: optimizer: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "state", [None, [], {"model": {}}, {"state": {}, "param_groups": {}}, {"state": [], "param_groups": []}]
)
def test_what_is_no_state_is_refused(groups, state):
    with pytest.raises(CheckpointError, match="not the state of an optimizer"):
        check_optimizer(state, groups)


def test_the_state_of_another_optimizer_is_refused(model, groups):
    with pytest.raises(CheckpointError, match="has no number under 'eps'; it was not saved by AdamW"):
        check_optimizer(state_of(model, torch.optim.SGD, momentum=0.9), groups)
