"""Masks: decoded as pycocotools decodes them, resized as PyTorch resizes, and outlines that give none are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coder
from pycocotools.coco import COCO

from detr_common import masks
from detr_common.coco import CocoDetection, build_dataset
from detr_common.errors import InputError
from detr_common.options import training_args
from fixtures.coco import Drawn, write_coco

SIZE = (40, 50)
TRIANGLE = [5.0, 5.0, 30.5, 8.0, 12.0, 35.25]
CORNER = [40.0, 0.0, 50.0, 0.0, 50.0, 12.0, 40.0, 12.0]


def packed(mask: np.ndarray) -> dict[str, Any]:
    code = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def blobs(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(SIZE) < 0.4


def runs(mask: np.ndarray) -> dict[str, Any]:
    flat = mask.flatten(order="F").astype(int)
    ends = [0, *(np.flatnonzero(np.diff(flat)) + 1), len(flat)]
    counts = np.diff(ends).tolist()
    return {"size": list(SIZE), "counts": ([0] if flat[0] else []) + counts}


@pytest.mark.parametrize(
    "segmentation",
    [[TRIANGLE], [TRIANGLE, CORNER], packed(blobs()), runs(blobs(1))],
    ids=["one", "two", "packed", "runs"],
)
def test_decoded_as_pycocotools_does(segmentation: Any) -> None:
    truth = COCO()
    truth.imgs = {1: {"id": 1, "height": SIZE[0], "width": SIZE[1]}}
    expected = truth.annToMask({"image_id": 1, "segmentation": segmentation})
    (mask,) = masks.masks_of([{"segmentation": segmentation}], *SIZE)
    assert mask.dtype == bool and mask.any() and not mask.all()
    assert np.array_equal(mask, expected.astype(bool))


def test_without_objects_there_are_no_masks() -> None:
    assert masks.masks_of([], 3, 4).shape == (0, 3, 4)


@given(st.data())
def test_codes_of_any_mask_are_let_through(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    seed, part = data.draw(st.integers(0, 99)), data.draw(st.sampled_from([0, 0.01, 0.5, 0.99, 1]))
    mask = np.random.default_rng(seed).random((height, width)) < part
    assert masks.segmentation_problem(packed(mask), height, width) == ""
    (decoded,) = masks.masks_of([{"segmentation": packed(mask)}], height, width)
    assert np.array_equal(decoded, mask)


def changed(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    code = packed(blobs())
    change(code)
    return code


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1.0, 2.0, 3.0, 4.0]], "of 4 numbers; three points"),
        ([TRIANGLE, TRIANGLE[:5]], "of 5 numbers; three points"),
        ([[*TRIANGLE[:5], float("nan")]], "finite numbers"),
        ([[*TRIANGLE[:5], "1"]], "finite numbers"),
        ([], "at least one polygon"),
        (None, "segmentation None"),
        ("abc", "segmentation 'abc'"),
        (changed(lambda code: code.update(size=[50, 40])), r"of size \[50, 40\]; the photograph's .* \[40, 50\]"),
        (changed(lambda code: code.pop("size")), "of size None"),
        (changed(lambda code: code.update(counts=3)), "counts 3"),
        (changed(lambda code: code.update(counts=code["counts"][:-1])), "not 2000 pixels together"),
        (changed(lambda code: code.update(counts=code["counts"] + "Z")), "not 2000 pixels together"),
        (changed(lambda code: code.update(counts="\u00e9" + code["counts"])), "not 2000 pixels|letters that none has"),
        (changed(lambda code: code.update(counts="!" + code["counts"])), "letters that none has"),
        ({"size": list(SIZE), "counts": [10, 20]}, "not 2000 pixels together"),
        ({"size": list(SIZE), "counts": [2100, -100]}, "not 2000 pixels together"),
    ],
)
def test_outlines_that_give_no_mask(segmentation: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        masks.masks_of([{"id": 5, "image_id": 9, "segmentation": segmentation}], *SIZE)
    assert str(caught.value).startswith("annotation id 5 of image id 9 has ")


@given(st.integers(1, 700), st.integers(1, 700))
def test_resized_as_pytorch_does(before: int, after: int) -> None:
    rows = np.arange(before) % 3 == 1
    for shape, size in (((1, before, 1), (after, 1)), ((1, 1, before), (1, after))):
        mask = rows.reshape(shape)
        there = torch.from_numpy(mask)[:, None].float()
        expected = torch.nn.functional.interpolate(there, size, mode="nearest")[:, 0] > 0.5
        assert np.array_equal(masks.resize(mask, *size), expected.numpy())


def test_boxes_are_those_of_the_first_and_last_pixels() -> None:
    several = np.stack([blobs() & (np.indices(SIZE).sum(0) > 60), np.zeros(SIZE, bool), np.eye(*SIZE, dtype=bool)])
    boxes = masks.boxes_of(several)
    assert boxes.dtype == np.float32
    y, x = np.nonzero(several[0])
    assert boxes.tolist() == [[x.min(), y.min(), x.max(), y.max()], [0, 0, 0, 0], [0, 0, 39, 39]]


def test_photographs_come_with_masks_if_asked_for(tmp_path: Path) -> None:
    write_coco(tmp_path / "shapes", Drawn(train=8, val=1))
    args = training_args(coco_path=str(tmp_path / "shapes"), augment=False, image_size=96)
    plain = build_dataset("train", args)
    dataset = CocoDetection(plain.folder, plain.annotations, train=False, scale=plain.scale, masks=True)
    objects = 0
    for index in range(len(dataset)):
        image, target = dataset[index]
        assert "masks" not in plain[index][1]
        assert target["masks"].shape == (len(target["boxes"]), *image.shape[1:])
        centres, sides = target["boxes"][:, :2], target["boxes"][:, 2:]
        pixels = np.array(image.shape[:0:-1] * 2, np.float32)
        corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1) * pixels
        # The last pixel against the border behind it, and what a polygon and two resizings round.
        assert np.abs(masks.boxes_of(target["masks"]) - corners).max(initial=0) <= 3
        objects += len(target["boxes"])
    assert objects > 8


def test_masks_are_moved_with_the_photograph(tmp_path: Path) -> None:
    """The pixels under a mask are those of its object, whatever is drawn."""
    write_coco(tmp_path / "shapes", Drawn(train=20, val=1, objects=1, crowds=False, extent=(40, 56)))
    plain = build_dataset("train", training_args(coco_path=str(tmp_path / "shapes"), image_size=128))
    dataset = CocoDetection(plain.folder, plain.annotations, train=True, scale=plain.scale, masks=True)
    spreads = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for image, target in (dataset[index] for index in range(len(dataset))):
            for mask in target["masks"]:
                if mask.sum() > 200:
                    # A shape is of one colour, its ground is noisy.
                    spreads.append(image[:, mask].std(axis=1).max() / image[:, ~mask].std(axis=1).max())
    assert len(spreads) > 20
    assert np.median(spreads) < 0.5
