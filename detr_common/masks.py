"""Masks of objects: from polygons and run-length codes, and through augmentation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coder

from detr_common.checks import is_finite, shortened
from detr_common.errors import InputError
from detr_common.images import nearest

Masks = npt.NDArray[np.bool_]  # [n, height, width]


def masks_of(objects: Sequence[Mapping[str, Any]], height: int, width: int) -> Masks:
    """Return the mask of each annotation.

    Args:
        objects: annotations with ``segmentation``: polygons, each [x0, y0, x1, y1, ...], or a run-length code.
        height: of the photograph, pixels.
        width: likewise.

    Raises:
        InputError: see ``segmentation_problem``.
    """
    masks = np.zeros((len(objects), height, width), bool)
    for mask, one in zip(masks, objects, strict=True):
        problem = segmentation_problem(one.get("segmentation"), height, width)
        if problem:
            raise InputError(f"annotation id {one.get('id')} of image id {one.get('image_id')} has {problem}")
        mask[:] = _decode(one["segmentation"], height, width)
    return masks


def _decode(segmentation: Any, height: int, width: int) -> npt.NDArray[np.bool_]:
    if isinstance(segmentation, list):
        codes = coder.frPyObjects(segmentation, height, width)
    elif isinstance(segmentation["counts"], list):
        codes = [coder.frPyObjects(segmentation, height, width)]
    else:
        codes = [{**segmentation, "counts": _as_bytes(segmentation["counts"])}]
    decoded: Masks = coder.decode(codes).astype(bool).any(axis=2)
    return decoded


def _as_bytes(counts: str | bytes) -> bytes:
    return counts.encode("ascii") if isinstance(counts, str) else counts


def segmentation_problem(segmentation: object, height: int, width: int) -> str:
    """Say what is wrong with the outline of an object; nothing if a mask can be made of it.

    Args:
        segmentation: polygons or a run-length code.
        height: of the photograph, pixels.
        width: likewise.
    """
    if isinstance(segmentation, list):
        return _polygon_problem(segmentation)
    if not isinstance(segmentation, Mapping):
        return f"segmentation {shortened(segmentation)}; it is a list of polygons or a run-length code"
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if list(size) != [height, width] if isinstance(size, (list, tuple)) else True:
        return f"a run-length code of size {shortened(size)}; the photograph's [height, width] is {[height, width]}"
    if isinstance(counts, list):
        if not all(isinstance(run, int) and run >= 0 for run in counts) or sum(counts) != height * width:
            return f"a run-length code whose runs are not {height * width} pixels together"
        return ""
    return _packed_problem(counts, height, width)


def _polygon_problem(polygons: Sequence[object]) -> str:
    if not polygons:
        return "segmentation []; an object has at least one polygon"
    for polygon in polygons:
        if not (isinstance(polygon, list) and all(is_finite(value) for value in polygon)):
            return f"polygon {shortened(polygon)}; it is finite numbers [x0, y0, x1, y1, ...]"
        if len(polygon) < 6 or len(polygon) % 2:
            return f"polygon {shortened(polygon)} of {len(polygon)} numbers; three points are six, and each is a pair"
    return ""


def _packed_problem(counts: object, height: int, width: int) -> str:
    """Unpack a code far enough to add up its runs, since the decoder writes wherever they lead."""
    if not isinstance(counts, (str, bytes)):
        return f"a run-length code with counts {shortened(counts)}; they are a string or a list of runs"
    runs: list[int] = []
    value = shift = 0
    for letter in counts.encode("ascii", "replace") if isinstance(counts, str) else counts:
        letter -= 48
        if not 0 <= letter < 64:
            return f"a run-length code with letters that none has: {shortened(counts)}"
        value |= (letter & 0x1F) << shift
        shift += 5
        if letter & 0x20:
            continue
        if letter & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift or any(run < 0 for run in runs) or sum(runs) != height * width:
        return f"a run-length code whose runs are not {height * width} pixels together"
    return ""


def flip(masks: Masks) -> Masks:
    """Exchange left and right."""
    return masks[:, :, ::-1]


def crop(masks: Masks, top: int, left: int, height: int, width: int) -> Masks:
    """Cut a rectangle out, which lies within them."""
    return masks[:, top : top + height, left : left + width]


def resize(masks: Masks, height: int, width: int) -> Masks:
    """Scale masks by nearest neighbours, those at the rounded-down places that PyTorch takes."""
    rows = nearest(masks.shape[1], height)
    columns = nearest(masks.shape[2], width)
    return masks[:, rows[:, None], columns[None, :]]


def boxes_of(masks: Masks) -> npt.NDArray[np.float32]:
    """Return the first and last column and row of each mask, [n, 4] as (x0, y0, x1, y1); zeros for an empty one.

    As in the published detector the last pixel is taken itself, not the border behind it.
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return boxes
