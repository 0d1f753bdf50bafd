"""Photographs and annotations in COCO's format as detectors train on them and are evaluated with them."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from detr_common.annotations import Annotations, read_annotations
from detr_common.errors import InputError
from detr_common.images import FloatArray, open_photograph
from detr_common.masks import masks_of
from detr_common.options import num_classes
from detr_common.transforms import Target, apply, draw, for_evaluation, normalise, only

# Folder and annotations of each part, below the folder of the data set.
PARTS = {
    "train": ("train2017", "annotations/instances_train2017.json"),
    "val": ("val2017", "annotations/instances_val2017.json"),
}
# The shorter side for which the published sizes of augmentation were made.
PUBLISHED_SIZE = 800


class CocoDetection:
    """Photographs with their targets, in the order of their ids.

    An item is a float32 image [3, H, W], normalised, and its target: ``boxes`` float32 [n, 4] as (cx, cy, w, h),
    fractions of the image; ``labels`` int64 [n], the category ids of the annotations; ``area`` float32 [n], pixels;
    ``iscrowd`` int64 [n]; ``image_id`` int64 [1]; ``orig_size`` and ``size`` int64 [2] as (height, width); with
    ``masks`` also ``masks`` bool [n, H, W].

    Args:
        folder: of the photographs.
        annotations: what is on them, checked.
        train: whether they are augmented, by draws that depend on seed, epoch and id alone.
        scale: by which the published sizes are multiplied.
        seed: of the draws.
        masks: whether targets have masks.

    Attributes:
        epoch: of the draws; see ``set_epoch``.
    """

    def __init__(
        self,
        folder: Path,
        annotations: Annotations,
        train: bool,
        scale: float = 1.0,
        seed: int = 0,
        masks: bool = False,
    ) -> None:
        self.folder = folder
        self.annotations = annotations
        self.train = train
        self.scale = scale
        self.seed = seed
        self.masks = masks
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of photographs, those without annotation among them."""
        return len(self.annotations.images)

    def __getitem__(self, index: int) -> tuple[FloatArray, Target]:
        """Read a photograph, and augment it if it is for training.

        Raises:
            InputError: the file cannot be read any more.
        """
        entry = self.annotations.images[index]
        image = open_photograph(self.folder / entry["file_name"], upright=False)
        if image.size != (entry["width"], entry["height"]):
            raise InputError(
                f"{self.folder / entry['file_name']}: is {image.width}x{image.height} pixels, but its annotations "
                f"(image id {entry['id']}) are for {entry['width']}x{entry['height']}"
            )
        target = in_pixels(entry, self.annotations.of_image(entry["id"]), self.masks)
        if self.train:
            rng = np.random.default_rng((self.seed, self.epoch, int(entry["id"])))
            augmentation = draw(rng, image.width, image.height, self.scale)
        else:
            augmentation = for_evaluation(self.scale)
        return normalise(*apply(image, target, augmentation))

    def set_epoch(self, epoch: int) -> None:
        """Let other numbers be drawn."""
        self.epoch = epoch


def in_pixels(image: Mapping[str, Any], objects: list[dict[str, Any]], masks: bool = False) -> Target:
    """Turn annotations into a target, boxes as (x0, y0, x1, y1) in pixels.

    Crowds are left out, boxes are cut at the border, and those without width or height are left out.

    Args:
        image: ``id``, ``width`` and ``height``.
        objects: its annotations, ``bbox`` as [x, y, width, height] in pixels.
        masks: whether the target has masks, of ``segmentation``.

    Raises:
        InputError: an outline gives no mask; see ``detr_common.masks``.
    """
    height, width = image["height"], image["width"]
    single = [one for one in objects if not one.get("iscrowd", 0)]
    boxes = np.array([one["bbox"] for one in single], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
    target: Target = {
        "boxes": boxes,
        "labels": np.array([one["category_id"] for one in single], np.int64),
        "image_id": np.array([image["id"]], np.int64),
        "area": np.array([one["area"] for one in single], np.float32),
        "iscrowd": np.zeros(len(single), np.int64),
        "orig_size": np.array([height, width], np.int64),
        "size": np.array([height, width], np.int64),
    }
    if masks:
        target["masks"] = masks_of(single, height, width)
    return only(target, (boxes[:, 3] > boxes[:, 1]) & (boxes[:, 2] > boxes[:, 0]))


def build_dataset(part: str, args: argparse.Namespace) -> CocoDetection:
    """Return the photographs of a part of COCO, all of them looked at.

    Args:
        part: "train" or "val".
        args: see ``detr_common.options.get_training_parser``.

    Raises:
        InputError: a folder, file or photograph is missing or damaged, or an annotation cannot be used; see
            ``detr_common.annotations``.
    """
    if part not in PARTS:
        raise InputError(f"part {part!r}: it is train or val")
    if not args.coco_path:
        raise InputError("--coco_path: name the folder that holds train2017, val2017 and annotations")
    root = Path(args.coco_path)
    folder, file = (root / name for name in PARTS[part])
    if not root.is_dir():
        raise InputError(f"--coco_path {root}: no such folder; it holds train2017, val2017 and annotations")
    annotations = read_annotations(file, folder, num_classes(args))
    train = part == "train" and args.augment
    return CocoDetection(folder, annotations, train, args.image_size / PUBLISHED_SIZE, args.seed)
