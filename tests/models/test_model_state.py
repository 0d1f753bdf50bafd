"""State dicts: names, shapes and order as published, and what is trained."""

import json
from collections.abc import Callable

import pytest
from observe_state import CASES
from sides import Arrays, small_args

import fixtures
from detr_common.options import default_args

BATCH_NORM = (".running_mean", ".running_var")
PACKAGES = ("torch", "jittor")


@pytest.fixture(scope="module")
def observed(observe: Callable[..., dict[str, Arrays]]) -> dict[str, Arrays]:
    return observe("observe_state")


@pytest.fixture(scope="module")
def observed_float64(observe: Callable[..., dict[str, Arrays]]) -> dict[str, Arrays]:
    return observe("observe_state_float64")


def entries(observed: dict[str, Arrays], package: str, key: str) -> list[tuple[str, list[int], str, bool]]:
    return [tuple(entry) for entry in json.loads(str(observed[package][key]))]


def should_train(name: str, names: set[str], backbone_trained: bool) -> bool:
    """The published rule: of the backbone the convolutions from the second stage on, everything else."""
    if not name.startswith("backbone.0.body."):
        return True
    is_norm = name.rpartition(".")[0] + ".running_mean" in names
    return backbone_trained and not is_norm and "body.layer" in name and "body.layer1." not in name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("package", PACKAGES)
def test_names_shapes_and_order_are_the_published_ones(observed: dict[str, Arrays], package: str, case: str) -> None:
    expected = [(name, list(shape)) for name, shape in fixtures.shapes(default_args(**CASES[case])).items()]
    assert [(name, shape) for name, shape, _, _ in entries(observed, package, f"state/{case}")] == expected


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("package", PACKAGES)
def test_what_takes_a_gradient_and_of_what_dtype(observed: dict[str, Arrays], package: str, case: str) -> None:
    args = default_args(**CASES[case])
    found = entries(observed, package, f"state/{case}")
    names = {name for name, *_ in found}
    assert {dtype for _, _, dtype, _ in found} == {args.dtype}
    trained = {name for name, _, _, gradient in found if gradient}
    assert trained == {name for name in names if should_train(name, names, args.lr_backbone > 0)}
    assert any("backbone" in name for name in trained if "backbone.1" not in name) == (args.lr_backbone > 0)


def test_both_packages_have_one_state(observed: dict[str, Arrays]) -> None:
    for key in observed["torch"]:
        if key.startswith(("state/", "after-eval/")):
            assert entries(observed, "torch", key) == entries(observed, "jittor", key)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("package", PACKAGES)
def test_only_what_takes_a_gradient_moves_under_weight_decay(
    request: pytest.FixtureRequest, package: str, dtype: str
) -> None:
    observed = request.getfixturevalue("observed" if dtype == "float32" else "observed_float64")
    found = entries(observed, package, f"after-eval/{dtype}")
    names = list(fixtures.shapes(small_args()))
    assert [name for name, *_ in found] == names
    trained = [name for name in names if should_train(name, set(names), True)]
    assert [name for name, _, _, gradient in found if gradient] == trained
    moved = observed[package][f"moved/{dtype}"].tolist()
    assert moved == trained
    assert not [name for name in moved if name.endswith(BATCH_NORM)]
