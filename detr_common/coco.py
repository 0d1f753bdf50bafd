"""Photographs and annotations in COCO's format as detectors train on them and are evaluated with them."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from detr_common.annotations import Annotations, read_annotations
from detr_common.dataset import Photographs
from detr_common.errors import InputError
from detr_common.masks import masks_of
from detr_common.options import num_classes
from detr_common.panoptic import CocoPanoptic, PanopticAnnotations, read_panoptic
from detr_common.transforms import Target, only

# Folder and annotations of each part, below the folder of the data set.
PARTS = {
    "train": ("train2017", "annotations/instances_train2017.json"),
    "val": ("val2017", "annotations/instances_val2017.json"),
}
# The shorter side for which the published sizes of augmentation were made.
PUBLISHED_SIZE = 800


class CocoDetection(Photographs):
    """Photographs with the objects of instance annotations.

    Args:
        folder: see ``Photographs``, as for those that are not named here.
        annotations: what is on them, checked.
        train: as said.
        scale: as said.
        seed: as said.
        masks: as said.
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
        super().__init__(folder, annotations.images, train, scale, seed, masks)
        self.annotations = annotations

    def target(self, entry: Mapping[str, Any]) -> Target:
        """Return the objects of a photograph; see ``in_pixels``."""
        return in_pixels(entry, self.annotations.of_image(entry["id"]), self.masks)


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


def build_dataset(part: str, args: argparse.Namespace) -> Photographs:
    """Return the photographs of a part of COCO, all of them looked at.

    Args:
        part: "train" or "val".
        args: see ``detr_common.options.get_training_parser``.

    Raises:
        InputError: a folder, file or photograph is missing or damaged, or an annotation cannot be used; see
            ``detr_common.annotations`` and ``detr_common.panoptic``.
    """
    if part not in PARTS:
        raise InputError(f"part {part!r}: it is train or val")
    check_root(args)
    folder, file = (Path(args.coco_path) / name for name in PARTS[part])
    how = (part == "train" and args.augment, args.image_size / PUBLISHED_SIZE, args.seed, args.masks)
    if args.dataset_file == "coco_panoptic":
        panoptic = panoptic_of(part, folder, args)
        seen = {image["id"] for image in panoptic.images}
        # Only what is evaluated is compared with them.
        wanted = file.is_file() and not how[0]
        instances = read_annotations(file, folder, num_classes(args), args.masks, seen) if wanted else None
        return CocoPanoptic(folder, panoptic, instances, *how)
    return CocoDetection(folder, read_annotations(file, folder, num_classes(args), args.masks), *how)


def check_root(args: argparse.Namespace) -> None:
    """Refuse a folder of photographs that is not there, before anything is started that would read it.

    Raises:
        InputError: says what is missing.
    """
    if not args.coco_path:
        raise InputError("--coco_path: name the folder that holds train2017, val2017 and annotations")
    root = Path(args.coco_path)
    if not root.is_dir():
        raise InputError(f"--coco_path {root}: no such folder; it holds train2017, val2017 and annotations")


def panoptic_of(part: str, folder: Path, args: argparse.Namespace) -> PanopticAnnotations:
    """Read the panoptic annotations of a part, from ``args.coco_panoptic_path``.

    Raises:
        InputError: see ``build_dataset``.
    """
    root = Path(args.coco_panoptic_path)
    name = f"panoptic_{part}2017"
    if not args.coco_panoptic_path or not root.is_dir():
        raise InputError(
            f"--coco_panoptic_path {args.coco_panoptic_path}: no such folder; with --dataset_file coco_panoptic it "
            "holds annotations, panoptic_train2017 and panoptic_val2017"
        )
    return read_panoptic(root / "annotations" / f"{name}.json", root / name, folder, num_classes(args))
