"""What a user of either package meets: kinds of input, messages, detections."""

from collections.abc import Callable

import numpy as np
import pytest
from observe_behaviour import TIED_BOXES, TIES, VARIANTS
from observe_loading import images
from sides import SMALL, Arrays

PACKAGES = ("torch", "jittor")


@pytest.fixture(scope="module")
def observed(observe: Callable[..., dict[str, Arrays]]) -> dict[str, Arrays]:
    return observe("observe_behaviour")


def part(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays under one prefix."""
    found = {name.removeprefix(f"{prefix}/"): value for name, value in arrays.items() if name.startswith(f"{prefix}/")}
    assert found
    return found


def error(a: Arrays, b: Arrays) -> float:
    """The largest difference of two sets of arrays, relative to the scale of each array."""
    assert a.keys() == b.keys() and all(a[name].shape == b[name].shape for name in a)
    return max(float(np.abs(a[name] - b[name]).max() / np.abs(b[name]).max()) for name in a)


@pytest.mark.parametrize("variant", VARIANTS)
def test_float64_predictions_agree(observed: dict[str, Arrays], variant: str) -> None:
    found = error(*(part(observed[package], f"variant/{variant}") for package in ("jittor", "torch")))
    print(variant, found)
    assert found <= 1e-12, f"relative error {found:.1e}"
    assert all(v.dtype == np.float64 for p in PACKAGES for v in part(observed[p], f"variant/{variant}").values())


@pytest.mark.parametrize("kind", ["list", "reversed", "nested", "tensor", "one", "one-cell", "no-aux", "deep"])
def test_predictions_agree_for_every_kind_of_input(observed: dict[str, Arrays], kind: str) -> None:
    bound = 1e-3 if kind in ("no-aux", "deep") else 1e-12  # the former two are float32
    assert error(*(part(observed[package], kind) for package in ("jittor", "torch"))) <= bound


@pytest.mark.parametrize(
    ("kind", "same"),
    [
        ("nested", "list"),
        ("float64", "list"),  # float32 images are cast before anything is computed
        ("tensor", "tensor-as-list"),
        ("one-tensor", "one"),
    ],
)
@pytest.mark.parametrize("package", PACKAGES)
def test_kinds_of_input_give_equal_predictions(observed: dict[str, Arrays], package: str, kind: str, same: str) -> None:
    assert error(part(observed[package], kind), part(observed[package], same)) <= 1e-13


@pytest.mark.parametrize("package", PACKAGES)
def test_order_of_images_does_not_matter(observed: dict[str, Arrays], package: str) -> None:
    straight = {name: value[::-1] for name, value in part(observed[package], "list").items()}
    assert error(straight, part(observed[package], "reversed")) <= 1e-12


@pytest.mark.parametrize("package", PACKAGES)
def test_shapes_dtypes_and_auxiliary_outputs(observed: dict[str, Arrays], package: str) -> None:
    queries = SMALL["num_queries"]
    for kind, layers, batch, dtype in (
        ("list", 2, 2, "float64"),
        ("one", 2, 1, "float64"),
        ("float32", 2, 2, "float32"),
        ("no-aux", 1, 2, "float32"),
        ("deep", 4, 2, "float32"),
    ):
        arrays = part(observed[package], kind)
        assert {name.partition("/")[0] for name in arrays} == {"last", *map(str, range(layers - 1))}
        for name, value in arrays.items():
            assert value.shape == (batch, queries, 92 if name.endswith("logits") else 4)
            assert value.dtype == dtype
            assert np.isfinite(value).all()
            assert name.endswith("logits") or (value.min() >= 0 and value.max() <= 1)


@pytest.mark.parametrize("package", PACKAGES)
def test_padding_is_zero_below_and_right(observed: dict[str, Arrays], package: str) -> None:
    pixels, mask = observed[package]["padded/pixels"], observed[package]["padded/mask"]
    assert pixels.shape == (2, 3, 96, 96) and mask.shape == (2, 96, 96) and mask.dtype == bool
    for index, image in enumerate(images()):
        height, width = image.shape[1:]
        assert np.array_equal(pixels[index, :, :height, :width], image)
        assert not mask[index, :height, :width].any()
        assert mask[index].sum() == 96 * 96 - height * width
        assert not pixels[index][:, mask[index]].any()


MESSAGES = {
    "empty batch": "a batch is one or more [C, H, W] images, not []",
    "flat image": "a batch is one or more [C, H, W] images, not [(5, 5)]",
    "learned beyond 50": "learned position encodings reach to 50 rows and columns, but the map has 1 x 51",
    "learned at 50": "",
    "dilated r18": "--dilation is not defined for resnet18; use resnet50 or resnet101, or leave it out",
    "heads": "5 heads do not divide 64 features; choose --nheads or --hidden_dim",
    "sizes short": "1 images need target_sizes [1, 2], not [1, 3]",
    "sizes many": "1 images need target_sizes [1, 2], not [2, 2]",
}


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("package", PACKAGES)
def test_wrong_use_is_told(observed: dict[str, Arrays], package: str, name: str) -> None:
    kind, _, text = str(observed[package][f"error/{name}"]).partition(": ")
    assert text == MESSAGES[name]
    assert kind in ({"ValueError", "InputError"} if text else {""})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("package", PACKAGES)
def test_the_first_of_tied_classes_wins(observed: dict[str, Arrays], package: str, dtype: str) -> None:
    found = part(observed[package], f"ties/{dtype}")
    assert set(found) == {"scores", "labels", "boxes"}
    assert found["labels"].tolist() == [0, 1, 0, 2, 0]  # the last logit is "no object", which never wins
    shares = np.exp(TIES[0] - TIES[0].max(-1, keepdims=True))
    best = (shares / shares.sum(-1, keepdims=True))[:, :-1].max(-1)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(found["scores"], best, rtol=tolerance, atol=0)
    cx, cy, w, h = TIED_BOXES[0].T
    corners = np.stack([(cx - w / 2) * 300, (cy - h / 2) * 200, (cx + w / 2) * 300, (cy + h / 2) * 200], axis=1)
    np.testing.assert_allclose(found["boxes"], corners, rtol=tolerance, atol=300 * tolerance)
    assert found["scores"].dtype == found["boxes"].dtype == dtype


def test_detections_agree(observed: dict[str, Arrays]) -> None:
    ours, theirs = (part(observed[package], "detections") for package in ("jittor", "torch"))
    for image in "01":
        assert np.array_equal(ours[f"{image}/labels"], theirs[f"{image}/labels"])
        for name in ("scores", "boxes"):
            np.testing.assert_allclose(ours[f"{image}/{name}"], theirs[f"{image}/{name}"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("package", PACKAGES)
def test_boxes_there_and_back(observed: dict[str, Arrays], package: str) -> None:
    given, corners, back = (observed[package][f"boxes/{name}"] for name in ("given", "corners", "back"))
    half = given[..., 2:] / 2
    assert np.array_equal(corners, np.concatenate([given[..., :2] - half, given[..., :2] + half], axis=-1))
    np.testing.assert_allclose(back, given, rtol=0, atol=1e-15)
