"""What is said of weights that do not fit a model."""

import numpy as np
import pytest

from detr_common.errors import InputError
from detr_common.state import check_names_and_shapes

EXPECTED = {f"layers.{i}.weight": (2, 3) for i in range(30)}


def weights(prefix: str = "", shape: tuple[int, ...] = (2, 3)) -> dict[str, np.ndarray]:
    return {prefix + name: np.zeros(shape, np.float32) for name in EXPECTED}


def told(values: dict[str, np.ndarray]) -> str:
    with pytest.raises(InputError) as caught:
        check_names_and_shapes(values, EXPECTED, "a.pth")
    return str(caught.value)


def test_a_prefix_of_all_names_is_named_with_what_takes_it_away() -> None:
    said = told(weights("module."))
    assert "a.pth: does not fit the model in 60 places; all its names begin with 'module.'" in said
    assert "name.removeprefix('module.')" in said and "--hidden_dim" not in said
    assert "missing layers.0.weight [2, 3]" in said and "unexpected module.layers.0.weight [2, 3]" in said
    assert "and 22 more missing" in said and "and 22 more unexpected" in said


@pytest.mark.parametrize(
    "values",
    [
        weights(shape=(3, 2)),
        {},
        weights("module.") | {"other": np.zeros(1)},
        {name: value for name, value in weights().items() if not name.endswith("7.weight")},
    ],
    ids=["shapes", "nothing", "another beside", "some missing"],
)
def test_else_the_options_are(values: dict[str, np.ndarray]) -> None:
    said = told(values)
    assert "check the model's options (--backbone" in said and "begin with" not in said


def test_shapes_are_listed_too() -> None:
    said = told(weights(shape=(3, 2)))
    assert "layers.7.weight has shape [3, 2], the model needs [2, 3]" in said
    assert "layers.8.weight" not in said and "and 22 more of another shape" in said
