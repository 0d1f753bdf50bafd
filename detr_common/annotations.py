"""Annotations in COCO's format, and all that can be wrong with them and their photographs before training begins."""

import json
from collections.abc import Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from detr_common.checks import is_finite, is_integer, shortened
from detr_common.errors import InputError
from detr_common.images import open_photograph
from detr_common.masks import segmentation_problem

# What a JPEG and a PNG end with; some programs append to it.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 4096
_SHOWN = 10


@dataclass(frozen=True)
class Annotations:
    """Content of an annotation file.

    Attributes:
        images: entries with ``id``, ``file_name``, ``width`` and ``height``, in the order of their ids.
        objects: entries with ``image_id``, ``category_id``, ``bbox``, ``area`` and ``iscrowd``, by the image's id.
        categories: names by id.
    """

    images: list[dict[str, Any]]
    objects: dict[int, list[dict[str, Any]]] = field(repr=False)
    categories: dict[int, str]

    def of_image(self, image_id: int) -> list[dict[str, Any]]:
        """Return the annotations of an image, none if there are none."""
        return self.objects.get(image_id, [])


def read_annotations(
    path: Path, folder: Path, classes: int, masks: bool = False, among: Container[int] | None = None
) -> Annotations:
    """Read an annotation file and look at all it says, and at every photograph.

    Args:
        path: the file.
        folder: of the photographs.
        classes: number of classes of the detector; category ids are smaller.
        masks: whether masks will be made of the outlines.
        among: ids of the images that are wanted; None for all.

    Raises:
        InputError: the file or the folder is missing or not what it should be; an annotation is of an unknown image
            or category, its box is not finite or has a negative size, or its category id is not below ``classes``; no
            mask can be made of an outline, if ``masks``; a photograph is missing, damaged or of another size. Files
            and ids are named.
    """
    content = content_of(path)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it holds the photographs of {path.name}")
    images, categories = by_id(content["images"], path, "image"), by_id(content["categories"], path, "category")
    if not images:
        raise InputError(f"{path}: has no images, so there is nothing to train on or to evaluate")
    problems = [*image_problems(images.values()), *category_problems(categories, classes)]
    objects: dict[int, list[dict[str, Any]]] = {}
    for one in content["annotations"]:
        problem = _object_problem(one, images, categories) or (_outline_problem(one, images) if masks else "")
        if problem:
            problems.append(problem)
        else:
            objects.setdefault(one["image_id"], []).append(one)
    refuse(problems, path, "annotation")
    ordered = [images[key] for key in sorted(images) if among is None or key in among]
    objects = {image["id"]: objects[image["id"]] for image in ordered if image["id"] in objects}
    refuse(photograph_problems(ordered, folder), path, "photograph")
    return Annotations(ordered, objects, {key: str(one.get("name", key)) for key, one in categories.items()})


def content_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the lists ``images``, ``annotations`` and ``categories`` of a file.

    Raises:
        InputError: it is missing or no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; it holds the annotations") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; it should be a file of annotations") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is empty or no JSON ({error}); fetch it again") from None
    keys = ("images", "annotations", "categories")
    missing = [key for key in keys if not (isinstance(content, dict) and isinstance(content.get(key), list))]
    if missing:
        raise InputError(f"{path}: has no list of {', '.join(missing)}; a file of COCO's instances has all three")
    return {key: content[key] for key in keys}


def by_id(entries: Iterable[Any], path: Path, kind: str) -> dict[int, dict[str, Any]]:
    """Return entries by their ids.

    Raises:
        InputError: one has no integer id, or the id of another.
    """
    found: dict[int, dict[str, Any]] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or not is_integer(entry.get("id")):
            raise InputError(f"{path}: {kind} number {number} has no integer id: {shortened(entry)}")
        if entry["id"] in found:
            raise InputError(f"{path}: {kind} id {entry['id']} is there twice; ids are for one each")
        found[entry["id"]] = dict(entry)
    return found


def image_problems(images: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say what is wrong with the entries of images."""
    problems = []
    for one in images:
        if not isinstance(one.get("file_name"), str) or not one["file_name"]:
            problems.append(f"image id {one['id']} has no file_name")
        elif not all(is_integer(one.get(side)) and one[side] > 0 for side in ("width", "height")):
            problems.append(f"image id {one['id']} ({one['file_name']}) has no width and height above zero")
    return problems


def category_problems(categories: Iterable[int], classes: int) -> list[str]:
    """Say which ids of categories a detector with so many classes cannot have."""
    wrong = [key for key in categories if not 0 <= key < classes]
    if not wrong:
        return []
    return [
        f"category ids {wrong[:_SHOWN]} are not below {classes}, the number of classes of the detector: give a "
        f"--num_classes of at least {max(wrong) + 1}"
        if min(wrong) >= 0
        else f"category ids {wrong[:_SHOWN]} are not 0 to {classes - 1}"
    ]


def _object_problem(one: Any, images: Mapping[int, Any], categories: Mapping[int, Any]) -> str:
    """Say what is wrong with an annotation; nothing if it can be used."""
    if not isinstance(one, Mapping):
        return f"an annotation is {shortened(one)}, no dict"
    where = f"annotation id {one.get('id')}"
    image = one.get("image_id")
    if not isinstance(image, int) or image not in images:
        return f"{where} is of image id {image!r}, which is not among the images"
    where += f" of image id {image} ({images[image].get('file_name')})"
    if not is_integer(one.get("category_id")) or one["category_id"] not in categories:
        return f"{where} has category id {one.get('category_id')!r}, which is not among the categories"
    box = one.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(is_finite(side) for side in box)):
        return f"{where} has bbox {shortened(box)}; it is four finite numbers [x, y, width, height]"
    if box[2] < 0 or box[3] < 0:
        return f"{where} has bbox {box}; width and height are not negative"
    if not is_finite(one.get("area")):
        return f"{where} has area {one.get('area')!r}; it is a number of pixels"
    return ""


def _outline_problem(one: Mapping[str, Any], images: Mapping[int, Any]) -> str:
    image = images[one["image_id"]]
    problem = segmentation_problem(one.get("segmentation"), image["height"], image["width"])
    return problem and f"annotation id {one.get('id')} of image id {image['id']} ({image['file_name']}) has {problem}"


def photograph_problems(images: Iterable[Mapping[str, Any]], folder: Path) -> list[str]:
    """Say which files of a folder are missing, damaged, or of another size than their entries say."""
    present = {path.name for path in folder.iterdir()}

    def problem(image: Mapping[str, Any]) -> str:
        path = folder / image["file_name"]
        if image["file_name"] not in present and not path.is_file():
            return f"{path} (image id {image['id']}) is missing"
        return _damage(path, image)

    with ThreadPoolExecutor(8) as pool:
        return [found for found in pool.map(problem, images) if found]


def _damage(path: Path, entry: Mapping[str, Any]) -> str:
    """Say how a photograph is damaged; only one whose end is missing is decoded."""
    try:
        with Image.open(path) as image:
            size, end = image.size, _ENDS.get(image.format or "")
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            whole = end is not None and end in file.read()
        if not whole:
            open_photograph(path)
    except InputError as error:
        return f"image id {entry['id']}: {error}"
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        return f"{path} (image id {entry['id']}) is not an image that can be read ({error})"
    if size != (entry["width"], entry["height"]):
        return (
            f"{path} (image id {entry['id']}) is {size[0]}x{size[1]} pixels, its annotations are for "
            f"{entry['width']}x{entry['height']}"
        )
    return ""


def refuse(problems: list[str], path: Path, kind: str) -> None:
    """Refuse an annotation file of which something is wrong.

    Raises:
        InputError: lists the first problems.
    """
    if problems:
        shown = "\n  ".join(problems[:_SHOWN]) + (
            "" if len(problems) <= _SHOWN else f"\n  and {len(problems) - _SHOWN} more"
        )
        raise InputError(f"{path}: cannot be used; {len(problems)} {kind}{'s' * (len(problems) > 1)}:\n  {shown}")
