"""What the criterion and the matcher say of input that they cannot use."""

from collections.abc import Callable

import pytest
from sides import Arrays

# What is wrong with it: the words that name it.
MESSAGES = {
    "too-few": "InputError: targets: 2 for 3 images",
    "label-high": "InputError: targets: object 2 of image 2 has label 91; with 91 classes labels are 0 to 90",
    "label-negative": "InputError: targets: object 1 of image 0 has label -1",
    "label-float": "InputError: targets: image 0 has labels [2] of float64; they are integers [n]",
    "lengths": "InputError: targets: image 0 has 1 labels and 2 boxes",
    "flat": "InputError: targets: image 1 has boxes [0] of float64; they are floats [n, 4]",
    "integers": "InputError: targets: image 0 has boxes [2, 4] of int32; they are floats",
    "no-labels": "InputError: targets: image 1 has no labels, only boxes",
    "nan": "InputError: targets: object 1 of image 2 has box (cx, cy, w, h) = [nan, ",
    "infinite": "InputError: targets: object 1 of image 2 has box",
    "zero": "InputError: targets: object 1 of image 2 has box",
    "negative": "InputError: targets: object 1 of image 2 has box",
    "logits-nan": "NotFiniteError: pred_logits: nan at image 1, query 3, class 7 (1 of 1932 values",
    "logits-infinite": "NotFiniteError: pred_logits: -inf at image 0, query 6, class 91 (1 of",
    "boxes-nan": "NotFiniteError: pred_boxes: nan at image 2, query 5, w (2 of 84 values",
    "boxes-negative": "InputError: pred_boxes: image 2, query 5 has (cx, cy, w, h) = [",
    "boxes-huge": "NotFiniteError: matching cost: nan between query 5 of image 2 and object 0 of the batch",
}
# What is wrong only for the criterion.
CRITERION = {
    "earlier": "NotFiniteError: aux_outputs 0: pred_boxes: nan at image 0, query 1, h",
    "classes": 'InputError: pred_logits [3, 7, 50]: the criterion has 91 classes and "no object"',
}
ALONE = {
    "refused/costs": "InputError: all matching costs are 0",
    "refused/losses": "InputError: losses are labels, boxes, cardinality and masks, not labels, outlines",
    "overlap/order/boxes1": "InputError: boxes1: box 1 is (x0, y0, x1, y1) = [0.0, 0.0, -1.0, 1.0]",
    "overlap/order/boxes2": "InputError: boxes2: box 1 is",
    "overlap/nan/boxes1": "InputError: boxes1: box 1 is (x0, y0, x1, y1) = [0.0, 0.0, nan, 1.0]",
    "overlap/nan/boxes2": "InputError: boxes2: box 1 is",
}
WANTED = (
    {f"refused/{who}/{name}": text for who in ("criterion", "matcher") for name, text in MESSAGES.items()}
    | {f"refused/criterion/{name}": text for name, text in CRITERION.items()}
    | ALONE
)


@pytest.fixture(scope="module")
def observed(observe_loss: Callable[..., dict[str, Arrays]]) -> dict[str, Arrays]:
    return observe_loss("observe_criterion")


@pytest.mark.parametrize("name", WANTED)
def test_wrong_input_is_named(observed: dict[str, Arrays], name: str) -> None:
    first, second = str(observed["torch"][name]), str(observed["jittor"][name])
    assert first.startswith(WANTED[name])
    assert first == second


def test_right_input_is_taken(observed: dict[str, Arrays]) -> None:
    for arrays in observed.values():
        assert str(arrays["refused/criterion/nothing"]) == str(arrays["refused/matcher/nothing"]) == ""
        seen = {name for name in arrays if name.startswith("refused/") and str(arrays[name])}
        assert seen - {"refused/matcher/classes"} <= set(WANTED)
