"""Photographs with targets, read and augmented by draws that depend on seed, epoch and id alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detr_common.errors import InputError
from detr_common.images import FloatArray, open_photograph
from detr_common.transforms import Target, apply, draw, for_evaluation, normalise


class Photographs:
    """Photographs in the order of their ids; what is on them is told by a subclass.

    An item is a float32 image [3, H, W], normalised, and its target: ``boxes`` float32 [n, 4] as (cx, cy, w, h),
    fractions of the image; ``labels`` int64 [n], the category ids of the annotations; ``area`` float32 [n], pixels;
    ``iscrowd`` int64 [n]; ``image_id`` int64 [1]; ``orig_size`` and ``size`` int64 [2] as (height, width); with
    ``masks`` also ``masks`` bool [n, H, W].

    Args:
        folder: of the photographs.
        images: an entry for each, with ``id``, ``file_name``, ``width`` and ``height``.
        train: whether they are augmented.
        scale: by which the published sizes are multiplied.
        seed: of the draws.
        masks: whether targets have masks.

    Attributes:
        epoch: of the draws; see ``set_epoch``.
    """

    def __init__(
        self,
        folder: Path,
        images: Sequence[Mapping[str, Any]],
        train: bool,
        scale: float = 1.0,
        seed: int = 0,
        masks: bool = False,
    ) -> None:
        self.folder = folder
        self.images = images
        self.train = train
        self.scale = scale
        self.seed = seed
        self.masks = masks
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of photographs, those without annotation among them."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[FloatArray, Target]:
        """Read a photograph, and augment it if it is for training.

        Raises:
            InputError: the file cannot be read any more.
        """
        return normalise(*self.augmented(index))

    def augmented(self, index: int) -> tuple[Image.Image, Target]:
        """Return what ``normalise`` makes an item of: the augmented photograph, and boxes in pixels.

        Raises:
            InputError: the file cannot be read any more.
        """
        entry = self.images[index]
        image = open_photograph(self.folder / entry["file_name"], upright=False)
        if image.size != (entry["width"], entry["height"]):
            raise InputError(
                f"{self.folder / entry['file_name']}: is {image.width}x{image.height} pixels, but its annotations "
                f"(image id {entry['id']}) are for {entry['width']}x{entry['height']}"
            )
        target = self.target(entry)
        if self.train:
            rng = np.random.default_rng((self.seed, self.epoch, int(entry["id"])))
            augmentation = draw(rng, image.width, image.height, self.scale)
        else:
            augmentation = for_evaluation(self.scale)
        return apply(image, target, augmentation)

    def target(self, entry: Mapping[str, Any]) -> Target:
        """Return what is on a photograph, boxes as (x0, y0, x1, y1) in pixels.

        Raises:
            InputError: a file that tells it cannot be read any more.
        """
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Let other numbers be drawn."""
        self.epoch = epoch
