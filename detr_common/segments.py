"""From masks that overlap to a panoptic map: each pixel is one query's (DETR, section 4.4), in NumPy and PIL."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from detr_common.panoptic import Ids, to_colours, to_ids

# Segments of so few pixels are dropped.
SMALL = 4

Indices = npt.NDArray[np.int64]


def panoptic_map(
    labels: Indices,
    owners: Callable[[Indices], npt.NDArray[Any]],
    is_thing: Mapping[int, bool],
    size: tuple[int, int],
    encode: Callable[[Ids], bytes],
) -> dict[str, Any]:
    """Make a panoptic map of the queries that found something.

    Stuff of one category is one segment; segments of at most ``SMALL`` pixels are dropped, and their pixels fall to
    the other queries, as often as it takes.

    Args:
        labels: category id of each query, [n].
        owners: called with the indices of the queries that are left, not none of them, tells which of them each pixel
            belongs to: from 0, [H, W].
        is_thing: whether objects of a category are told apart, by its id.
        size: (height, width) of the photograph.
        encode: makes a PNG of ids; ``to_png`` does.

    Returns:
        ``png_string``, bytes, and ``segments_info``: ``id``, ``isthing``, ``category_id`` and ``area`` of each segment.
    """
    kept: Indices = np.arange(len(labels))
    first = first_of_stuff(labels, is_thing)
    ids, areas = _shared_out(kept, lambda left: first[owners(left)], size)
    while (areas <= SMALL).any():
        kept = kept[areas > SMALL]
        ids, areas = _shared_out(kept, owners, size)
    segments = [
        {"id": number, "isthing": is_thing[int(labels[query])], "category_id": int(labels[query]), "area": int(area)}
        for number, (query, area) in enumerate(zip(kept, areas, strict=True))
    ]
    return {"png_string": encode(ids), "segments_info": segments}


def first_of_stuff(labels: Indices, is_thing: Mapping[int, bool]) -> Indices:
    """Return for each query the first of its category where that is stuff, and itself where it is a thing."""
    seen: dict[int, int] = {}
    owners = [
        query if is_thing[int(label)] else seen.setdefault(int(label), query) for query, label in enumerate(labels)
    ]
    return np.array(owners, np.int64)


def _shared_out(
    kept: Indices, owners: Callable[[Indices], npt.NDArray[Any]], size: tuple[int, int]
) -> tuple[Ids, npt.NDArray[np.int64]]:
    """Return the ids at the size of the photograph and how many pixels each has; none are anybody's without queries."""
    if not len(kept):
        return np.zeros(size, np.int32), np.zeros(0, np.int64)
    small = Image.fromarray(owners(kept).astype(np.int32))
    ids = np.asarray(small.resize(size[::-1], Image.Resampling.NEAREST))
    return ids, np.bincount(ids.ravel(), minlength=len(kept))


def to_png(ids: Ids) -> bytes:
    """Return a PNG whose colours are ids; see ``detr_common.panoptic``."""
    with io.BytesIO() as file:
        Image.fromarray(to_colours(ids)).save(file, format="PNG")
        return file.getvalue()


def from_png(content: bytes) -> Ids:
    """Return the ids of a PNG that ``to_png`` has made."""
    with Image.open(io.BytesIO(content)) as image:
        return to_ids(np.asarray(image))
