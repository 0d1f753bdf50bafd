"""Panoptic annotations in COCO's format (Kirillov et al. 2019): a PNG for each photograph tells of every pixel whose.

The colour of a pixel is the id of its segment, red + 256 green + 65536 blue; 0 is nobody's.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detr_common.annotations import (
    Annotations,
    by_id,
    category_problems,
    content_of,
    image_problems,
    photograph_problems,
    refuse,
)
from detr_common.checks import is_finite, is_integer, shortened
from detr_common.dataset import Photographs
from detr_common.errors import InputError
from detr_common.images import open_photograph
from detr_common.masks import boxes_of
from detr_common.transforms import Target, only

Ids = npt.NDArray[np.int32]  # [height, width]

# Ids are below; three bytes of colour tell no more.
COLOURS = 2**24


@dataclass(frozen=True)
class PanopticAnnotations:
    """Content of a panoptic annotation file.

    Attributes:
        path: of the file.
        folder: of its PNGs.
        images: entries of the photographs that are annotated, in the order of their ids.
        segments: for each, by its id, entries with ``id``, ``category_id``, ``iscrowd`` and ``area``.
        files: names of the PNGs, by the image's id.
        categories: entries by id, with ``name`` and ``isthing``.
    """

    path: Path
    folder: Path
    images: list[dict[str, Any]]
    segments: dict[int, list[dict[str, Any]]] = field(repr=False)
    files: dict[int, str] = field(repr=False)
    categories: dict[int, dict[str, Any]]

    @property
    def things(self) -> dict[int, bool]:
        """Whether objects of a category are told apart, by its id."""
        return {key: bool(category["isthing"]) for key, category in self.categories.items()}

    def ids(self, image_id: int) -> Ids:
        """Read the PNG of a photograph.

        Raises:
            InputError: it cannot be read.
        """
        return read_ids(self.folder / self.files[image_id])


def to_colours(ids: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Turn ids [...] into colours [..., 3]."""
    colours: npt.NDArray[np.uint8] = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    return colours


def to_ids(colours: npt.NDArray[np.uint8]) -> Ids:
    """Turn colours [..., 3] into ids [...]."""
    red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
    ids: Ids = red + 256 * green + 65536 * blue
    return ids


def read_ids(path: Path) -> Ids:
    """Read the ids of a PNG.

    Raises:
        InputError: it is missing or no image.
    """
    return to_ids(np.asarray(open_photograph(path, upright=False)))


class CocoPanoptic(Photographs):
    """Photographs with their segments, things and stuff alike, crowds among them, as upstream trains on them.

    Segments that are one pixel wide or high have a box without area, and are left out.

    Args:
        folder: see ``Photographs``, as for those that are not named here.
        panoptic: what is on them, checked.
        instances: objects of the same photographs, with which boxes and masks are evaluated as upstream does; None or
            some of them where there are no more.
        train: as said.
        scale: as said.
        seed: as said.
        masks: as said.
    """

    def __init__(
        self,
        folder: Path,
        panoptic: PanopticAnnotations,
        instances: Annotations | None,
        train: bool,
        scale: float = 1.0,
        seed: int = 0,
        masks: bool = False,
    ) -> None:
        super().__init__(folder, panoptic.images, train, scale, seed, masks)
        self.panoptic = panoptic
        self.instances = instances

    def target(self, entry: Mapping[str, Any]) -> Target:
        """Return the segments of a photograph, boxes around their pixels."""
        segments = self.panoptic.segments[entry["id"]]
        ids = self.panoptic.ids(entry["id"])
        masks = ids == np.array([one["id"] for one in segments], np.int32).reshape(-1, 1, 1)
        size = np.array([entry["height"], entry["width"]], np.int64)
        target: Target = {
            "boxes": boxes_of(masks),
            "labels": np.array([one["category_id"] for one in segments], np.int64),
            "image_id": np.array([entry["id"]], np.int64),
            "area": np.array([one["area"] for one in segments], np.float32),
            "iscrowd": np.array([one.get("iscrowd", 0) for one in segments], np.int64),
            "orig_size": size,
            "size": size.copy(),
        }
        if self.masks:
            target["masks"] = masks
        return only(target, (target["boxes"][:, 2:] > target["boxes"][:, :2]).all(axis=1))


def read_panoptic(path: Path, folder: Path, photographs: Path, classes: int) -> PanopticAnnotations:
    """Read a panoptic annotation file and look at all it says, at every PNG and at every photograph.

    Args:
        path: the file.
        folder: of the PNGs.
        photographs: their folder.
        classes: number of classes of the detector; category ids are smaller.

    Raises:
        InputError: a file or folder is missing, damaged or not what it should be; an annotation is of an unknown
            image or category; a PNG has not the size of its photograph, or other segments than the file says. Files
            and ids are named.
    """
    content = content_of(path)
    for place, what in ((folder, "PNGs"), (photographs, "photographs")):
        if not place.is_dir():
            raise InputError(f"{place}: no such folder; it holds the {what} of {path.name}")
    images, categories = by_id(content["images"], path, "image"), by_id(content["categories"], path, "category")
    problems = [*image_problems(images.values()), *category_problems(categories, classes)]
    problems += [
        f"category id {key} has isthing {one.get('isthing')!r}; it is 0 or 1"
        for key, one in categories.items()
        if one.get("isthing") not in (0, 1)
    ]
    annotated: dict[int, dict[str, Any]] = {}
    for one in content["annotations"]:
        problem = _annotation_problem(one, images, categories, annotated)
        if problem:
            problems.append(problem)
        else:
            # By the image's id: the two lists of a file need not be in one order, and COCO's are not.
            annotated[one["image_id"]] = one
    refuse(problems, path, "annotation")
    if not annotated:
        raise InputError(f"{path}: has no annotation, so there is nothing to train on or to evaluate")
    ordered = [images[key] for key in sorted(annotated)]
    refuse(photograph_problems(ordered, photographs), path, "photograph")
    pngs = [{**image, "file_name": annotated[image["id"]]["file_name"]} for image in ordered]
    refuse(photograph_problems(pngs, folder) or _pixel_problems(pngs, annotated, folder), path, "PNG")
    return PanopticAnnotations(
        path,
        folder,
        ordered,
        {key: one["segments_info"] for key, one in annotated.items()},
        {key: one["file_name"] for key, one in annotated.items()},
        categories,
    )


def _annotation_problem(
    one: Any, images: Mapping[int, Any], categories: Mapping[int, Any], before: Mapping[int, Any]
) -> str:
    """Say what is wrong with the annotation of a photograph; nothing if it can be used."""
    if not isinstance(one, Mapping):
        return f"an annotation is {shortened(one)}, no dict"
    image = one.get("image_id")
    if not is_integer(image) or image not in images:
        return f"an annotation ({shortened(one.get('file_name'))}) is of image id {image!r}, not among the images"
    where = f"the annotation of image id {image}"
    if image in before:
        return f"{where} is there twice"
    if not isinstance(one.get("file_name"), str) or not one["file_name"]:
        return f"{where} has no file_name, that of its PNG"
    segments = one.get("segments_info")
    if not isinstance(segments, list) or not all(isinstance(segment, Mapping) for segment in segments):
        return f"{where} has no list segments_info"
    seen: set[int] = set()
    for segment in segments:
        problem = _segment_problem(segment, categories, seen)
        if problem:
            return f"{where} ({one['file_name']}) has {problem}"
        seen.add(segment["id"])
    return ""


def _segment_problem(segment: Mapping[str, Any], categories: Mapping[int, Any], before: Container[object]) -> str:
    key = segment.get("id")
    if not is_integer(key) or not 0 < segment["id"] < COLOURS:
        return f"a segment with id {shortened(key)}; it is an integer from 1 to {COLOURS - 1}, a colour"
    if key in before:
        return f"segment id {key} twice"
    if not is_integer(segment.get("category_id")) or segment["category_id"] not in categories:
        return f"segment id {key} of category id {segment.get('category_id')!r}, which is not among the categories"
    if not is_finite(segment.get("area")) or segment["area"] < 0:
        return f"segment id {key} with area {segment.get('area')!r}; it is a number of pixels"
    if segment.get("iscrowd", 0) not in (0, 1):
        return f"segment id {key} with iscrowd {segment.get('iscrowd')!r}; it is 0 or 1"
    return ""


def _pixel_problems(pngs: Sequence[Mapping[str, Any]], annotated: Mapping[int, Any], folder: Path) -> list[str]:
    """Say which PNGs have other segments than their annotation says."""

    def problem(image: Mapping[str, Any]) -> str:
        where = f"{folder / image['file_name']} (image id {image['id']})"
        try:
            ids = read_ids(folder / image["file_name"])
        except InputError as error:
            return f"image id {image['id']}: {error}"
        # A mark for each colour: sorting all pixels would take longer than reading them.
        marked = np.zeros(COLOURS, bool)
        marked[ids] = True
        said = [segment["id"] for segment in annotated[image["id"]]["segments_info"]]
        missing = [key for key in said if not marked[key]]
        if missing:
            return f"{where} has no pixel of segment id {missing[0]}, which its annotation says it has"
        marked[[0, *said]] = False
        if marked.any():
            return f"{where} has pixels of segment id {marked.argmax()}, of which its annotation does not tell"
        return ""

    with ThreadPoolExecutor(8) as pool:
        return [found for found in pool.map(problem, pngs) if found]
