"""What the check of a saved optimizer says to states that were damaged or belong elsewhere."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detr_common.errors import InputError
from detr_common.optimizer_state import check_optimizer_state, check_run

NAMES = [["a", "b"], ["c"]]
SHAPES: dict[str, tuple[int, ...]] = {"a": (2, 3), "b": (3,), "c": (1,)}
ORDER = ("a", "b", "c")


def state() -> dict[str, Any]:
    entries = {
        i: {"step": np.float32(3), "exp_avg": np.zeros(SHAPES[n]), "exp_avg_sq": np.ones(SHAPES[n])}
        for i, n in enumerate(ORDER)
    }
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-4}
    return {"state": entries, "param_groups": [{**group, "params": [0, 1]}, {**group, "params": [2]}]}


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "index twice": (lambda s: s["param_groups"][1].update(params=[0]), "[0] stand in the groups more than once"),
    "params no list": (lambda s: s["param_groups"][1].update(params=2), "no list of dicts"),
    "params of strings": (lambda s: s["param_groups"][1].update(params=["c"]), "no list of dicts"),
    "params of lists": (lambda s: s["param_groups"][1].update(params=[[2]]), "no list of dicts"),
    "another name": (lambda s: s["param_groups"][0].update(param_names=["a", "x"]), "has x where this optimizer has b"),
    "fewer names": (lambda s: s["param_groups"][0].update(param_names=["a"]), "0 has 1 where this optimizer has 2"),
    "half a step": (lambda s: s["state"][1].update(step=2.5), "step of b is 2.5; it is a whole number"),
    "a bool for a step": (lambda s: s["state"][1].update(step=True), "step of b is True"),
    "negative step": (lambda s: s["state"][1].update(step=-1), "step of b is -1"),
    "shape": (lambda s: s["state"][0].update(exp_avg=np.zeros((3, 2))), "exp_avg of a has shape [3, 2]"),
    "unknown index": (lambda s: s["state"].update({7: {}}), "state of parameter 7, which is in no group"),
    "other groups": (lambda s: s["param_groups"].pop(), "1 groups of [2] parameters"),
}  # fmt: skip


def test_a_good_state_passes() -> None:
    check_optimizer_state(state(), NAMES, SHAPES)
    named = state()
    for group, names in zip(named["param_groups"], NAMES, strict=True):
        group["param_names"] = names
    check_optimizer_state(named, NAMES, SHAPES)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_state_is_refused(name: str) -> None:
    damage, words = DAMAGES[name]
    damaged = copy.deepcopy(state())
    damage(damaged)
    with pytest.raises(InputError) as refused:
        check_optimizer_state(damaged, NAMES, SHAPES)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"model": {}}, "has no optimizer, lr_scheduler, epoch"),
        ([], "has no model, optimizer, lr_scheduler, epoch"),
        ({"model": {}, "optimizer": {}, "lr_scheduler": {}, "epoch": 1.5}, "epoch is 1.5"),
    ],
)
def test_what_is_no_run_is_refused(tree: object, words: str) -> None:
    with pytest.raises(InputError) as refused:
        check_run(tree, "file.pkl")
    assert str(refused.value).startswith("file.pkl: ") and words in str(refused.value)
