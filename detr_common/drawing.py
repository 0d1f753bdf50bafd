"""Pictures of what a detector found: boxes, masks, and panoptic maps, on the photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy import ndimage

from detr_common.panoptic import Ids

_TONES = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")
# How much of a colour covers the photograph.
_COVER = 0.5


@dataclass(frozen=True)
class Detection:
    """An object that was found.

    Attributes:
        label: category id.
        score: from 0 to 1.
        box: (x0, y0, x1, y1) in pixels of the photograph.
        mask: bool [height, width] of the photograph; None without a mask head.
    """

    label: int
    score: float
    box: tuple[float, float, float, float]
    mask: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class PanopticMap:
    """Whose each pixel is.

    Attributes:
        ids: [height, width] of the photograph.
        segments: entries with ``id``, ``isthing``, ``category_id`` and ``area``; pixels of other ids are nobody's.
    """

    ids: Ids
    segments: Sequence[Mapping[str, Any]]


def draw(image: Image.Image, found: Sequence[Detection], names: Mapping[int, str]) -> Image.Image:
    """Return a copy of a photograph with what was found in it."""
    pixels = np.asarray(image).astype(np.float32)
    for one in reversed(found):  # the surest lies on top
        if one.mask is not None:
            pixels[one.mask] += _COVER * (_colour(one.label) - pixels[one.mask])
    picture = Image.fromarray(pixels.astype(np.uint8))
    pencil = ImageDraw.Draw(picture)
    width = max(2, min(picture.size) // 200)
    for one in reversed(found):
        x0, y0, x1, y1 = one.box
        tone = _tone(one.label)
        pencil.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), outline=tone, width=width)
        _write(picture, (max(x0, 0.0), max(y0, 0.0)), f"{_name(one.label, names)} {one.score:.2f}", tone)
    return picture


def draw_panoptic(image: Image.Image, panoptic: PanopticMap, names: Mapping[int, str]) -> Image.Image:
    """Return a copy of a photograph on which each segment has a colour, a border and the name of its category."""
    pixels = np.asarray(image).astype(np.float32)
    places = []
    for segment in panoptic.segments:
        there = panoptic.ids == segment["id"]
        pixels[there] += _COVER * (_colour(segment["category_id"]) - pixels[there])
        pixels[there & ~ndimage.binary_erosion(there)] = 255
        if there.any():
            # Where there is most of the segment on all sides.
            depth = ndimage.distance_transform_edt(np.pad(there, 1))[1:-1, 1:-1]
            row, column = np.unravel_index(int(depth.argmax()), depth.shape)
            places.append((int(column), int(row), int(segment["category_id"])))
    picture = Image.fromarray(pixels.astype(np.uint8))
    for x, y, label in places:
        _write(picture, (x, y), _name(label, names), _tone(label), centred=True)
    return picture


def _write(picture: Image.Image, place: tuple[float, float], text: str, tone: str, centred: bool = False) -> None:
    """Write on a ground of a colour; the place is the upper left corner, or the middle."""
    pencil = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(10, min(picture.size) // 35))
    x0, y0, x1, y1 = pencil.textbbox(place, text, font=font)
    if centred:
        place = (max(0.0, place[0] - (x1 - x0) / 2), max(0.0, place[1] - (y1 - y0) / 2))
    pencil.rectangle(pencil.textbbox(place, text, font=font), fill=tone)
    pencil.text(place, text, fill="white", font=font)


def _name(label: int, names: Mapping[int, str]) -> str:
    return names.get(label, f"category {label}")


def _tone(label: int) -> str:
    return _TONES[label % len(_TONES)]


def _colour(label: int) -> npt.NDArray[np.float32]:
    return np.array(ImageColor.getrgb(_tone(label)), np.float32)
