"""Augmentation equals torchvision's functions on PIL with the same draws, to the pixel, and so do boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import fixtures
from detr_common import transforms
from detr_common.images import MEAN, STD
from detr_common.transforms import Augmentation, Region, Target

BOXES = np.array([[10, 20, 100, 90], [0, 0, 30, 40], [150, 100, 200, 160], [90.5, 3.25, 120, 70]], np.float32)


def target(image: Image.Image) -> Target:
    count = len(BOXES)
    return {
        "boxes": BOXES.copy(),
        "labels": np.arange(1, count + 1),
        "area": (BOXES[:, 2:] - BOXES[:, :2]).prod(1),
        "iscrowd": np.zeros(count, np.int64),
        "image_id": np.array([7]),
        "orig_size": np.array([image.height, image.width]),
        "size": np.array([image.height, image.width]),
        "masks": np.random.default_rng(3).random((count, image.height, image.width)) < 0.3,
    }


def picture(coco_photographs: list[Path], number: int) -> Image.Image:
    paths = coco_photographs or fixtures.photographs()
    return Image.open(paths[number % len(paths)]).convert("RGB")


def with_torchvision(
    image: Image.Image, found: Target, plan: Augmentation
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The same steps with tensors and torchvision, as the published code takes them."""
    from torchvision.transforms import functional as F

    there = {name: torch.from_numpy(value) for name, value in found.items()}
    if plan.flip:
        image = F.hflip(image)
        turned = there["boxes"][:, [2, 1, 0, 3]] * torch.as_tensor([-1, 1, -1, 1])
        there["boxes"] = turned + torch.as_tensor([image.width, 0, image.width, 0])
        there["masks"] = there["masks"].flip(-1)
    if plan.crop is not None and plan.before_crop is not None:
        image, there = resized(image, there, plan.before_crop, None)
        image, there = cropped(image, there, plan.crop)
    image, there = resized(image, there, plan.size, plan.longest)
    array = F.normalize(F.to_tensor(image), MEAN.tolist(), STD.tolist())
    x0, y0, x1, y1 = there["boxes"].unbind(-1)
    boxes = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=-1)
    there["boxes"] = boxes / torch.tensor([image.width, image.height, image.width, image.height], dtype=torch.float32)
    return array, there


def resized(image, there, size, longest):
    from torchvision.transforms import functional as F

    before = image.size
    shorter, longer = min(before), max(before)
    if longest is not None and longer / shorter * size > longest:
        size = round(longest * shorter / longer)
    # An int resizes the shorter side and truncates the longer one, as upstream's own rule does.
    image = F.resize(image, size)
    columns, rows = (float(a) / float(b) for a, b in zip(image.size, before, strict=True))
    there = dict(there)
    there["boxes"] = there["boxes"] * torch.as_tensor([columns, rows, columns, rows])
    there["area"] = there["area"] * (columns * rows)
    there["size"] = torch.tensor([image.height, image.width])
    masks = there["masks"][:, None].float()
    there["masks"] = torch.nn.functional.interpolate(masks, (image.height, image.width), mode="nearest")[:, 0] > 0.5
    return image, there


def cropped(image, there, region: Region):
    from torchvision.transforms import functional as F

    image = F.crop(image, region.top, region.left, region.height, region.width)
    boxes = there["boxes"] - torch.as_tensor([region.left, region.top, region.left, region.top])
    corners = torch.min(boxes.reshape(-1, 2, 2), torch.as_tensor([region.width, region.height], dtype=torch.float32))
    corners = corners.clamp(min=0)
    kept = (corners[:, 1] > corners[:, 0]).all(dim=1)
    there = {**there, "boxes": corners.reshape(-1, 4), "area": (corners[:, 1] - corners[:, 0]).prod(dim=1)}
    there["size"] = torch.tensor([region.height, region.width])
    there["masks"] = F.crop(there["masks"], region.top, region.left, region.height, region.width)
    per_object = ("boxes", "labels", "area", "iscrowd", "masks")
    return image, {k: v[kept] if k in per_object else v for k, v in there.items()}


@pytest.mark.parametrize("number", range(24))
def test_pixels_and_boxes_are_those_of_torchvision(coco_photographs: list[Path], number: int) -> None:
    image = picture(coco_photographs, number)
    rng = np.random.default_rng(number)
    plan = transforms.draw(rng, image.width, image.height, 1.0 if number % 2 else 0.4)
    changed, found = transforms.apply(image, target(image), plan)
    array, found = transforms.normalise(changed, found)
    expected, there = with_torchvision(image, target(image), plan)
    assert array.dtype == np.float32 and np.array_equal(array, expected.numpy())
    assert found.keys() == there.keys()
    for name, value in there.items():
        assert np.array_equal(found[name], value.numpy()), name
    assert found["boxes"].dtype == found["area"].dtype == np.float32


def test_draws_cover_what_upstream_draws_and_repeat() -> None:
    plans = [transforms.draw(np.random.default_rng((0, i)), 640, 480) for i in range(2000)]
    assert plans == [transforms.draw(np.random.default_rng((0, i)), 640, 480) for i in range(2000)]
    assert {plan.size for plan in plans} == set(transforms.SCALES)
    assert {plan.before_crop for plan in plans} == {None, *transforms.CROP_SCALES}
    assert 900 < sum(plan.flip for plan in plans) < 1100
    assert 900 < sum(plan.crop is None for plan in plans) < 1100
    crops = [plan.crop for plan in plans if plan.crop is not None]
    assert all(384 <= crop.width <= 600 and 384 <= crop.height <= 600 for crop in crops)
    assert min(crop.width for crop in crops) < 390 and max(crop.width for crop in crops) > 590
    assert {plan.longest for plan in plans} == {1333}


def test_draws_are_even_and_independent_of_each_other() -> None:
    plans = [transforms.draw(np.random.default_rng((1, i)), 640, 480) for i in range(4000)]
    cropped = [plan for plan in plans if plan.crop is not None]
    # 640 by 480 pixels become 800 by 600, of which every rectangle of a size may be kept.
    wide = [plan.crop for plan in cropped if plan.crop is not None and plan.before_crop == 600]
    for numbers in ([plan.size for plan in plans], [plan.before_crop for plan in cropped]):
        assert stats.chisquare(np.unique(numbers, return_counts=True)[1]).pvalue > 1e-3
    for numbers in (
        [(crop.width - 384) / 217 for crop in wide],
        [(crop.height - 384) / 217 for crop in wide],
        [crop.left / (801 - crop.width) for crop in wide],
        [crop.top / (601 - crop.height) for crop in wide if crop.height < 500],
    ):
        assert stats.kstest(numbers, "uniform").pvalue > 1e-3
    for pairs in (
        [(plan.flip, plan.crop is None) for plan in plans],
        [(plan.flip, plan.size) for plan in plans],
        [(plan.crop is None, plan.size) for plan in plans],
        [(plan.flip, plan.before_crop) for plan in cropped],
        [(plan.before_crop, plan.size) for plan in cropped],
        [(crop.width > 492, crop.height > 492) for crop in wide],
        [(crop.left < (801 - crop.width) / 2, crop.top < (601 - crop.height) / 2) for crop in wide],
    ):
        rows, columns = (np.unique(column, return_inverse=True)[1] for column in zip(*pairs, strict=True))
        table = np.zeros((rows.max() + 1, columns.max() + 1))
        np.add.at(table, (rows, columns), 1)
        assert min(table.shape) > 1 and stats.chi2_contingency(table).pvalue > 1e-3


def test_crops_of_small_photographs_stay_in_them() -> None:
    for number in range(300):
        rng = np.random.default_rng(number)
        width, height = (int(side) for side in rng.integers(20, 700, 2))
        image = Image.new("RGB", (width, height))
        plan = transforms.draw(rng, width, height, 0.12)
        changed, found = transforms.apply(image, target(image), plan)
        assert changed.size == tuple(found["size"][::-1]) and min(changed.size) > 0


def test_objects_that_a_crop_leaves_nothing_of_are_dropped() -> None:
    image = Image.new("RGB", (200, 160))
    changed, found = transforms.crop(image, target(image), Region(0, 0, 50, 60))
    assert changed.size == (60, 50)
    assert found["labels"].tolist() == [1, 2]
    assert found["boxes"].tolist() == [[10, 20, 60, 50], [0, 0, 30, 40]]
    assert found["area"].tolist() == [1500, 1200]
    assert found["image_id"].tolist() == [7]
