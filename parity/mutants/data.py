"""The known faults of reading and augmenting, and how they are planted in the process that reads for the port.

Reading holds no framework, so that both sides share the code; a fault is in one of the two processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from detr_common import coco, masks, transforms
from detr_common.images import target_size
from parity.mutants.mutant import Mutant
from parity.mutants.planting import restore, substitute

DATA = tuple(
    Mutant(name, array, what, {"masks": True}, "data")
    for name, array, what in (
        ("masks-not-flipped", "masks", "masks are not flipped with their photograph"),
        ("masks-by-centres", "masks", "masks are resized by the pixels nearest to the centres"),
        ("masks-of-crowds", "boxes", "a crowd is an object like any other"),
        ("boxes-not-flipped", "boxes", "boxes are not flipped with their photograph"),
        ("objects-outside-crop-kept", "boxes", "objects of which a crop leaves nothing are kept"),
        ("sides-rounded", "images", "the longer side is rounded, not cut off, when a photograph is resized"),
        ("area-not-scaled", "area", "areas are those of the photograph, not of the resized one"),
        ("labels-contiguous", "labels", "category ids are renumbered without the way back"),
    )
)


@contextmanager
def reading_with(name: str) -> Iterator[None]:
    """Plant a fault for a while; none where the name is empty.

    Raises:
        KeyError: there is no such fault of reading.
    """
    if name:
        _PLANTS[name]()
    try:
        yield
    finally:
        restore()


def _masks_not_flipped() -> None:
    substitute(masks, "flip", lambda flip, there: there)


def _masks_by_centres() -> None:
    def nearest(original: Any, size_in: int, size_out: int) -> Any:
        return ((np.arange(size_out) + 0.5) * size_in / size_out).astype(np.int32)

    substitute(masks, "nearest", nearest)


def _masks_of_crowds() -> None:
    def in_pixels(original: Any, image: Any, objects: Any, with_masks: bool = False) -> Any:
        return original(image, [{**one, "iscrowd": 0} for one in objects], with_masks)

    substitute(coco, "in_pixels", in_pixels)


def _boxes_not_flipped() -> None:
    def flip(original: Any, image: Any, target: Any) -> Any:
        flipped, there = original(image, target)
        return flipped, {**there, "boxes": target["boxes"]}

    substitute(transforms, "flip", flip)


def _objects_kept() -> None:
    def crop(original: Any, image: Any, target: Any, region: Any) -> Any:
        with_all = {}

        def only(of: Any, there: Any, kept: Any) -> Any:
            with_all.update(there)
            return of(there, kept)

        substitute(transforms, "only", only)
        return original(image, target, region)[0], with_all

    substitute(transforms, "crop", crop)


def _sides_rounded() -> None:
    def rounded(original: Any, width: int, height: int, size: int, max_size: int | None = None) -> Any:
        shorter = min(target_size(width, height, size, max_size))
        return round(height * shorter / min(width, height)), round(width * shorter / min(width, height))

    substitute(transforms, "target_size", rounded)


def _area_not_scaled() -> None:
    def resize_target(original: Any, target: Any, before: Any, after: Any) -> Any:
        return {**original(target, before, after), "area": target["area"]}

    substitute(transforms, "resize_target", resize_target)


def _labels_contiguous() -> None:
    def in_pixels(original: Any, *args: Any) -> Any:
        target = original(*args)
        return {**target, "labels": target["labels"] // 2}

    substitute(coco, "in_pixels", in_pixels)


_PLANTS: dict[str, Callable[[], None]] = {
    "masks-not-flipped": _masks_not_flipped,
    "masks-by-centres": _masks_by_centres,
    "masks-of-crowds": _masks_of_crowds,
    "boxes-not-flipped": _boxes_not_flipped,
    "objects-outside-crop-kept": _objects_kept,
    "sides-rounded": _sides_rounded,
    "area-not-scaled": _area_not_scaled,
    "labels-contiguous": _labels_contiguous,
}
