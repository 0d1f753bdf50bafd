"""Average precision of detections, by pycocotools."""

import contextlib
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detr_common.annotations import Annotations
from detr_common.errors import NotFiniteError

Array = npt.NDArray[Any]

# The twelve figures of ``COCOeval.summarize``, in its order.
FIGURES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip


def detections_of(image_id: int, result: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Return the detections on an image as COCO's result files have them.

    Args:
        image_id: of the annotations.
        result: of post-processing: ``scores`` [Q], ``labels`` [Q], category ids, and ``boxes`` [Q, 4] as (x0, y0, x1,
            y1) in pixels of the photograph.

    Raises:
        NotFiniteError: a score or a box is NaN or infinite.
    """
    scores, boxes = (np.asarray(result[key], np.float64) for key in ("scores", "boxes"))
    if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
        raise NotFiniteError(f"image id {image_id}: a detection is not finite; the model has diverged")
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return [
        {"image_id": image_id, "category_id": int(label), "bbox": box.tolist(), "score": float(score)}
        for score, label, box in zip(scores, np.asarray(result["labels"]), sides, strict=True)
    ]


def evaluate_boxes(annotations: Annotations, detections: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return average precision and recall of boxes on all images of ``annotations``.

    Args:
        annotations: ground truth.
        detections: see ``detections_of``; their category ids are those of the annotations.

    Returns:
        ``FIGURES``, fractions; -1 where there is nothing of the kind, as pycocotools has it. A dozen zeros, likewise
        -1 where nothing is to be found, without any detection.
    """
    truth = _index(annotations)
    found = [dict(one) for one in detections]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(found) if found else COCO(), "bbox")
        evaluation.params.imgIds = sorted(truth.imgs)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(FIGURES, map(float, evaluation.stats), strict=True))


def _index(annotations: Annotations) -> COCO:
    """Return pycocotools' own index of annotations."""
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [dict(image) for image in annotations.images],
        "annotations": [dict(one) for objects in annotations.objects.values() for one in objects],
        "categories": [{"id": key, "name": name} for key, name in annotations.categories.items()],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth
