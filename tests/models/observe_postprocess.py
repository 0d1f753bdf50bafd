"""Masks and panoptic maps of drawn predictions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sides import Array, Arrays, Torch, message_of

from detr_common.segments import from_png

CLASSES, QUERIES = 12, 30
# Height and width of the images that the detector was given, and of the photographs that they were made of.
OWN, THERE = np.array([[64, 48], [40, 72]]), np.array([[97, 71], [33, 60]])
PADDED = (64, 72)
THINGS = {label: label < 6 for label in range(CLASSES)}


def predictions(dtype: str) -> Arrays:
    """Predictions of a padded batch of two: smooth masks, and half of the queries sure of their class."""
    rng = np.random.default_rng(7)
    logits = rng.standard_normal((2, QUERIES, CLASSES + 1))
    labels = rng.integers(0, CLASSES + 1, (2, QUERIES))  # the last is "no object"
    sure = rng.random((2, QUERIES)) < 0.5
    np.put_along_axis(logits, labels[..., None], np.where(sure, 9.0, 3.0)[..., None], axis=-1)
    height, width = (side // 4 for side in PADDED)
    y, x = (axis[..., None, None] for axis in rng.uniform(0, (width, height), (2, QUERIES, 2)).transpose(2, 0, 1))
    rows, columns = np.arange(height)[:, None], np.arange(width)
    masks = 5 - (np.hypot(rows - y, columns - x) + rng.normal(0, 0.3, (2, QUERIES, height, width)))
    boxes = rng.uniform(0.2, 0.8, (2, QUERIES, 4))
    return {
        name: value.astype(dtype)
        for name, value in {"pred_logits": logits, "pred_masks": masks, "pred_boxes": boxes}.items()
    }


def observe(side: Torch, _inputs: Mapping[str, Array]) -> Arrays:
    result: dict[str, Any] = {}
    file = side.module("postprocess")
    for dtype in ("float32", "float64"):
        outputs = {name: side.array(value) for name, value in predictions(dtype).items()}
        parts = {
            "bbox": file.PostProcess(),
            "segm": file.PostProcessSegm(),
            "panoptic": file.PostProcessPanoptic(THINGS),
        }
        found, maps = file.postprocess(parts, outputs, side.array(THERE), side.array(OWN))
        for i, (one, panoptic) in enumerate(zip(found, maps, strict=True)):
            result[f"{dtype}/masks/{i}"] = side.numpy(one["masks"])
            result |= {f"{dtype}/{name}/{i}": value for name, value in told(panoptic).items()}
        # One image alone has no padding, and the size of the map is that of the image where no other is asked for.
        alone = {
            name: value[1:2, ..., : OWN[1, 0] // 4, :] if name == "pred_masks" else value[1:2]
            for name, value in predictions(dtype).items()
        }
        (single,) = parts["panoptic"]({n: side.array(v) for n, v in alone.items()}, side.array(OWN[1:]))
        result |= {f"{dtype}/{name}/alone": value for name, value in told(single).items()}
        nothing = file.PostProcessPanoptic(THINGS, threshold=1.0)(outputs, side.array(OWN))
        result |= {f"{dtype}/{name}/nothing": value for name, value in told(nothing[0]).items()}
    wrong = side.array(OWN[:1])
    result["segm/sizes"] = message_of(lambda: parts["segm"](found, outputs, wrong, side.array(OWN)), ValueError)
    result["panoptic/sizes"] = message_of(lambda: parts["panoptic"](outputs, wrong), ValueError)
    return result


def told(panoptic: Mapping[str, Any]) -> Arrays:
    keys = ("id", "isthing", "category_id", "area")
    assert all(set(one) == set(keys) for one in panoptic["segments_info"])
    segments = np.array([[one[key] for key in keys] for one in panoptic["segments_info"]], np.int64).reshape(-1, 4)
    return {"ids": from_png(panoptic["png_string"]), "segments": segments}
