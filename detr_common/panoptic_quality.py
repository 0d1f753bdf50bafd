"""Panoptic quality (Kirillov et al. 2019), by hotcoco, which has the numbers of COCO's own panopticapi."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hotcoco.panoptic import PanopticEval

from detr_common.errors import InputError
from detr_common.panoptic import PanopticAnnotations
from detr_common.segments import from_png, to_png

# The groups of categories by their short names, and what hotcoco calls them.
PANOPTIC_GROUPS = {"all": "All", "th": "Things", "st": "Stuff"}
RESULTS = "predictions.json"


def panoptic_names(group: str) -> tuple[str, str, str]:
    """Return the names of panoptic, segmentation and recognition quality of a group."""
    return f"PQ_{group}", f"SQ_{group}", f"RQ_{group}"


def evaluate_panoptic(
    annotations: PanopticAnnotations, found: Sequence[Mapping[str, Any]], folder: Path | None = None
) -> dict[str, float]:
    """Return the panoptic quality of maps of all photographs of ``annotations``.

    Args:
        annotations: ground truth.
        found: of each photograph ``image_id``, ``png_string`` and ``segments_info``.
        folder: where the PNGs and ``predictions.json`` are left, in COCO's format; None leaves none.

    Returns:
        ``panoptic_names`` of each of ``PANOPTIC_GROUPS``, fractions. A group of which nothing is there or was found
        has none. Segments of a category that the annotations do not know are nobody's.

    Raises:
        InputError: a photograph has no map or two, the folder cannot be written, or a PNG has gone meanwhile.
    """
    seen = sorted(int(one["image_id"]) for one in found)
    if seen != [image["id"] for image in annotations.images]:
        raise InputError(f"{len(found)} panoptic maps for {len(annotations.images)} photographs; there is one for each")
    with tempfile.TemporaryDirectory() as scratch:
        place = folder or Path(scratch)
        try:
            place.mkdir(parents=True, exist_ok=True)
            _write(place, [_known(one, annotations.categories) for one in found])
            truth = Path(scratch, "annotations.json")
            truth.write_text(json.dumps(_content(annotations)), encoding="utf8")
        except OSError as error:
            raise InputError(f"{place}: panoptic maps cannot be written ({error.strerror})") from None
        try:
            evaluation = PanopticEval(truth, place / RESULTS, gt_folder=annotations.folder, pred_folder=place)
            evaluation.evaluate()
            results = evaluation.results()
        except OSError as error:
            raise InputError(f"{annotations.folder}: its PNGs cannot be read any more ({error})") from None
    return {
        name: float(results[title][key])
        for group, title in PANOPTIC_GROUPS.items()
        if results.get(title, {}).get("n")
        for name, key in zip(panoptic_names(group), ("pq", "sq", "rq"), strict=True)
    }


def _known(one: Mapping[str, Any], categories: Container[int]) -> Mapping[str, Any]:
    """Return a map without segments of unknown categories, which no figure is about and hotcoco does not read."""
    segments = one["segments_info"]
    kept = [segment for segment in segments if segment["category_id"] in categories]
    if len(kept) == len(segments):
        return one
    ids = from_png(one["png_string"]) + 1  # since 0 may be a segment's
    ids[~np.isin(ids, [segment["id"] + 1 for segment in kept])] = 0
    shifted = [{**segment, "id": segment["id"] + 1} for segment in kept]
    return {**one, "png_string": to_png(ids), "segments_info": shifted}


def _write(place: Path, found: Sequence[Mapping[str, Any]]) -> None:
    entries = []
    for one in found:
        name = f"{one['image_id']:012}.png"
        (place / name).write_bytes(one["png_string"])
        entries.append({"image_id": one["image_id"], "file_name": name, "segments_info": one["segments_info"]})
    (place / RESULTS).write_text(json.dumps({"annotations": entries}), encoding="utf8")


def _content(annotations: PanopticAnnotations) -> dict[str, Any]:
    """Return the annotations of the photographs that are evaluated, without what does not matter."""
    return {
        "images": [{key: one[key] for key in ("id", "file_name", "width", "height")} for one in annotations.images],
        "annotations": [
            {"image_id": key, "file_name": annotations.files[key], "segments_info": [_segment(one) for one in segments]}
            for key, segments in annotations.segments.items()
        ],
        "categories": [
            {"id": key, "name": str(one.get("name", key)), "isthing": int(one["isthing"])}
            for key, one in annotations.categories.items()
        ],
    }


def _segment(one: Mapping[str, Any]) -> dict[str, int]:
    whole = {"area": round(one["area"]), "iscrowd": one.get("iscrowd", 0)}
    return {"id": one["id"], "category_id": one["category_id"], **whole}
