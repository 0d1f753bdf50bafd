"""Masks and panoptic maps: both packages make the same, and what upstream's steps say."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from observe_postprocess import CLASSES, OWN, PADDED, THERE, THINGS, predictions
from PIL import Image
from sides import Array, Arrays
from torch.nn import functional as F

from detr_common.segments import from_png, panoptic_map, to_png

PACKAGES = ("torch", "jittor")
DTYPES = ("float32", "float64")


@pytest.fixture(scope="module")
def observed(observe: Callable[..., dict[str, Arrays]]) -> dict[str, Arrays]:
    return observe("observe_postprocess")


def test_both_make_the_same_masks_and_maps(observed: dict[str, Arrays]) -> None:
    for name, theirs in observed["torch"].items():
        mine = observed["jittor"][name]
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs), name


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("image", [0, 1])
def test_masks_are_enlarged_cut_and_scaled_back(
    observed: dict[str, Arrays], package: str, dtype: str, image: int
) -> None:
    logits = torch.from_numpy(predictions(dtype)["pred_masks"][image])
    large = F.interpolate(logits[None], size=PADDED, mode="bilinear", align_corners=False)
    inside = (large.sigmoid() > 0.5)[:, :, : OWN[image, 0], : OWN[image, 1]]
    wanted = F.interpolate(inside.float(), size=tuple(THERE[image]), mode="nearest")[0].numpy()
    found = observed[package][f"{dtype}/masks/{image}"]
    assert found.dtype == np.uint8 and found.shape == (30, 1, *THERE[image])
    assert np.array_equal(found[:, 0], wanted) and 0 < wanted.mean() < 1


def as_upstream(image: int, dtype: str) -> tuple[Array, list[list[int]]]:
    """The steps of the published post-processing, written once more: loops, one mask of ids for each query."""
    there = predictions(dtype)
    probabilities = torch.from_numpy(there["pred_logits"][image]).softmax(-1)
    scores, labels = probabilities.max(-1)
    keep = (labels != CLASSES) & (scores > 0.85)
    labels, masks = labels[keep].tolist(), torch.from_numpy(there["pred_masks"][image])[keep]
    masks = F.interpolate(masks[:, None], size=PADDED, mode="bilinear")[:, 0, : OWN[image, 0], : OWN[image, 1]]

    def shared_out(merge: bool) -> tuple[Array, list[int]]:
        ids = masks.softmax(0).argmax(0).numpy().astype(np.uint8)
        for i, label in enumerate(labels):
            if merge and not THINGS[label]:
                ids[ids == i] = labels.index(label)
        ids = np.asarray(Image.fromarray(ids).resize(tuple(THERE[image][::-1].tolist()), Image.Resampling.NEAREST))
        return ids, [int((ids == i).sum()) for i in range(len(labels))]

    ids, areas = shared_out(merge=True)
    while any(area <= 4 for area in areas):
        left = [i for i, area in enumerate(areas) if area > 4]
        labels, masks = [labels[i] for i in left], masks[left]
        ids, areas = shared_out(merge=False)
    segments = [[i, int(THINGS[label]), label, area] for i, (label, area) in enumerate(zip(labels, areas, strict=True))]
    return ids, segments


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("image", [0, 1])
def test_maps_are_those_of_upstream_s_steps(observed: dict[str, Arrays], package: str, dtype: str, image: int) -> None:
    ids, segments = as_upstream(image, dtype)
    assert np.array_equal(observed[package][f"{dtype}/ids/{image}"], ids)
    assert observed[package][f"{dtype}/segments/{image}"].tolist() == segments
    stuff = [label for _, thing, label, _ in segments if not thing]
    assert len(segments) > 4 and len(set(stuff)) == len(stuff) > 1


@pytest.mark.parametrize("package", PACKAGES)
def test_an_image_alone_and_one_in_which_nothing_is_sure(observed: dict[str, Arrays], package: str) -> None:
    found = observed[package]
    assert found["float64/ids/alone"].shape == tuple(OWN[1])
    assert found["float64/segments/nothing"].shape == (0, 4) and not found["float64/ids/nothing"].any()
    for kind in ("segm", "panoptic"):
        assert "2 images need" in str(found[f"{kind}/sizes"]) and "[2, 2], not [1, 2]" in str(found[f"{kind}/sizes"])


def test_stuff_is_merged_things_are_not_and_small_segments_fall_to_others() -> None:
    """By hand: queries 0 and 2 are stuff of one category, 1 and 3 things of one; 3 has four pixels."""
    whose = np.repeat([[0, 1, 2]], 12, axis=0)
    whose[:2, :2] = 3
    asked: list[list[int]] = []

    def owners(left: Array) -> Array:
        asked.append(left.tolist())
        # Of the second stuff and the small thing, once they are gone, the first of what is left has the pixels.
        return whose if len(left) == 4 else np.where(whose == 1, 1, 0)

    found = panoptic_map(np.array([9, 1, 9, 1]), owners, {1: True, 9: False}, (12, 3), to_png)
    assert asked == [[0, 1, 2, 3], [0, 1]]
    assert found["segments_info"] == [
        {"id": 0, "isthing": False, "category_id": 9, "area": 26},
        {"id": 1, "isthing": True, "category_id": 1, "area": 10},
    ]
    assert np.array_equal(from_png(found["png_string"]), np.where(whose == 1, 1, 0))


def test_things_of_one_category_stay_apart() -> None:
    whose = np.repeat([[0, 1]], 6, axis=0)
    found = panoptic_map(np.array([1, 1]), lambda left: whose, {1: True}, (6, 2), to_png)
    assert [one["area"] for one in found["segments_info"]] == [6, 6]
