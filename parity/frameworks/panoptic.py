"""Panoptic maps as entries of a trace and as results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from detr_common.segments import from_png
from parity.frameworks.base import POSTPROCESSORS, Array, EmitEntry, code_of
from parity.trace import Entry

# What is told of a segment of a panoptic map.
SEGMENT = ("id", "isthing", "category_id", "area")


def panoptic_arrays(maps: Sequence[Mapping[str, Any] | None]) -> list[dict[str, Array]]:
    """Return ``ids``, int32 [H, W], and ``segments``, int64 [n, 4], of each panoptic map; nothing where there is none.

    A segment is its id, whether it is a thing, its category id and its area in pixels.
    """
    return [
        {
            "ids": from_png(one["png_string"]),
            "segments": np.array(
                [[segment[key] for key in SEGMENT] for segment in one["segments_info"]], np.int64
            ).reshape(-1, len(SEGMENT)),
        }
        for one in maps
        if one is not None
    ]


def panoptic_entries(maps: Sequence[Mapping[str, Any] | None], source: str) -> Iterator[Entry]:
    """Yield panoptic maps as entries of a trace; they are no tensors, so that no recorder sees them."""
    owner = POSTPROCESSORS["panoptic"]
    for i, arrays in enumerate(panoptic_arrays(maps)):
        for key, array in arrays.items():
            yield Entry(f"forward/{owner}[{i}.{key}]", owner, source, array)
    # Uniform, and so counted as not tried, where there is no segment at all.
    found = np.array([False, *(bool(one and one["segments_info"]) for one in maps)])
    yield Entry(f"forward/{owner}[found]", owner, source, found)


def panoptic_results(
    maps: Sequence[Mapping[str, Any] | None], maker: Callable[..., object] | None, emit: EmitEntry | None
) -> dict[str, Array]:
    """Return panoptic maps by name, and emit them where they are compared.

    Args:
        maps: of each image, or None.
        maker: the function that made them; None where they are not compared.
        emit: receives the entries.
    """
    if maker is not None and emit is not None:
        code, file = code_of(maker)
        for entry in panoptic_entries(maps, f"{file}:{code.co_firstlineno}"):
            emit(entry)
    return {f"{key}.{i}": array for i, one in enumerate(panoptic_arrays(maps)) for key, array in one.items()}
