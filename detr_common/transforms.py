"""Augmentation of photographs, their boxes and masks as DETR has it (Carion et al. 2020, section 4), on PIL and NumPy.

Boxes are (x0, y0, x1, y1) in pixels until ``normalise``. All arithmetic is in float32, in the order of the published
code, so that the numbers are those that it trains on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from detr_common import masks as outlines
from detr_common.images import FloatArray, target_size, to_array

Target = dict[str, npt.NDArray[Any]]

# Pixels of the shorter side, of which one is drawn; and those before a crop.
SCALES = tuple(range(480, 801, 32))
CROP_SCALES = (400, 500, 600)
CROP_SIDES = (384, 600)
LONGEST = 1333
# What an entry for each object is, so that it is dropped with the object.
PER_OBJECT = ("boxes", "labels", "area", "iscrowd", "masks")


@dataclass(frozen=True)
class Region:
    """A rectangle of a photograph, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Augmentation:
    """What is done to a photograph, in this order.

    Attributes:
        flip: from left to right.
        before_crop: shorter side before the crop; None without one.
        crop: what is kept; None for all.
        size: shorter side in the end.
        longest: most pixels of the longer side in the end.
    """

    flip: bool
    before_crop: int | None
    crop: Region | None
    size: int
    longest: int


def draw(rng: np.random.Generator, width: int, height: int, scale: float = 1.0) -> Augmentation:
    """Draw the augmentation of a photograph for training.

    Args:
        rng: of this photograph in this epoch.
        width: of the photograph, pixels.
        height: likewise.
        scale: by which all sizes of the published code are multiplied.
    """
    flip = bool(rng.random() < 0.5)
    before_crop, crop = None, None
    if rng.random() < 0.5:
        before_crop = _scaled(int(rng.choice(CROP_SCALES)), scale)
        resized_height, resized_width = target_size(width, height, before_crop)
        least, most = (_scaled(side, scale) for side in CROP_SIDES)
        crop_width = int(rng.integers(min(least, resized_width), min(resized_width, most) + 1))
        crop_height = int(rng.integers(min(least, resized_height), min(resized_height, most) + 1))
        top = int(rng.integers(0, resized_height - crop_height + 1))
        left = int(rng.integers(0, resized_width - crop_width + 1))
        crop = Region(top, left, crop_height, crop_width)
    size = _scaled(int(rng.choice(SCALES)), scale)
    return Augmentation(flip, before_crop, crop, size, _scaled(LONGEST, scale))


def for_evaluation(scale: float = 1.0) -> Augmentation:
    """Return what is done to a photograph for evaluation: its shorter side becomes the largest of ``SCALES``."""
    return Augmentation(False, None, None, _scaled(SCALES[-1], scale), _scaled(LONGEST, scale))


def apply(image: Image.Image, target: Target, augmentation: Augmentation) -> tuple[Image.Image, Target]:
    """Do to a photograph and its target what was drawn.

    Args:
        image: RGB.
        target: see ``detr_common.coco``, boxes in pixels.
        augmentation: what to do.

    Returns:
        The photograph and a new target, boxes in pixels.
    """
    if augmentation.flip:
        image, target = flip(image, target)
    if augmentation.before_crop is not None and augmentation.crop is not None:
        image, target = resize(image, target, augmentation.before_crop)
        image, target = crop(image, target, augmentation.crop)
    return resize(image, target, augmentation.size, augmentation.longest)


def flip(image: Image.Image, target: Target) -> tuple[Image.Image, Target]:
    """Exchange left and right."""
    boxes = target["boxes"][:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
    boxes = boxes + np.array([image.width, 0, image.width, 0], np.float32)
    flipped = {**target, "boxes": boxes, **_masks(target, outlines.flip)}
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), flipped


def resize(image: Image.Image, target: Target, size: int, longest: int | None = None) -> tuple[Image.Image, Target]:
    """Scale a photograph so that its shorter side has ``size`` pixels, unless the longer had more than ``longest``."""
    height, width = target_size(image.width, image.height, size, longest)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized, resize_target(target, image.size, resized.size)


def resize_target(target: Target, before: tuple[int, int], after: tuple[int, int]) -> Target:
    """Scale boxes and areas with a photograph, of which (width, height) is given."""
    columns, rows = after[0] / before[0], after[1] / before[1]
    changed: Target = {
        "boxes": target["boxes"] * np.array([columns, rows, columns, rows], np.float32),
        "area": target["area"] * np.float32(columns * rows),
        "size": np.array(after[::-1], np.int64),
    }
    return {**target, **changed, **_masks(target, lambda masks: outlines.resize(masks, after[1], after[0]))}


def crop(image: Image.Image, target: Target, region: Region) -> tuple[Image.Image, Target]:
    """Cut a rectangle out; boxes are cut at its border, and objects of which nothing is left are dropped."""
    left, top, width, height = region.left, region.top, region.width, region.height
    moved: npt.NDArray[np.float32] = target["boxes"] - np.array([left, top, left, top], np.float32)
    boxes = np.minimum(moved, np.array([width, height, width, height], np.float32)).clip(0)
    sides = boxes[:, 2:] - boxes[:, :2]
    cut: Target = {"boxes": boxes, "area": sides.prod(axis=1), "size": np.array([height, width], np.int64)}
    cut |= _masks(target, lambda masks: outlines.crop(masks, top, left, height, width))
    return image.crop((left, top, left + width, top + height)), only({**target, **cut}, (sides > 0).all(axis=1))


def normalise(image: Image.Image, target: Target) -> tuple[FloatArray, Target]:
    """Return float32 [3, H, W] with the statistics of ImageNet, and boxes as (cx, cy, w, h), fractions of the image."""
    return to_array(image), normalise_target(target, image.width, image.height)


def normalise_target(target: Target, width: int, height: int) -> Target:
    """Turn boxes in pixels into (cx, cy, w, h), fractions of the image."""
    first, last = target["boxes"][:, :2], target["boxes"][:, 2:]
    centres = np.concatenate([(first + last) / 2, last - first], axis=1)
    return {**target, "boxes": centres / np.array([width, height, width, height], np.float32)}


def only(target: Target, kept: npt.NDArray[np.bool_] | Sequence[bool]) -> Target:
    """Return a target without the objects that are not ``kept``."""
    return {name: value[kept] if name in PER_OBJECT else value for name, value in target.items()}


def _masks(target: Target, change: Callable[[outlines.Masks], outlines.Masks]) -> Target:
    return {"masks": change(target["masks"])} if "masks" in target else {}


def _scaled(pixels: int, scale: float) -> int:
    return max(1, round(pixels * scale))
