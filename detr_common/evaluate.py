"""Average precision of boxes and masks, by pycocotools, and panoptic quality, by hotcoco."""

import contextlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coder
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detr_common.annotations import Annotations
from detr_common.coco import CocoDetection
from detr_common.dataset import Photographs
from detr_common.errors import NotFiniteError
from detr_common.panoptic import CocoPanoptic
from detr_common.panoptic_quality import PANOPTIC_GROUPS, evaluate_panoptic, panoptic_names

__all__ = ["FIGURES", "MASK_FIGURES", "PANOPTIC_GROUPS", "Found", "evaluate_found", "panoptic_names"]

Array = npt.NDArray[Any]

# The twelve figures of ``COCOeval.summarize``, in its order.
FIGURES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
# The same of masks.
MASK_FIGURES = tuple(f"mask_{name}" for name in FIGURES)


@dataclass
class Found:
    """What a detector found in photographs.

    Attributes:
        boxes: see ``detections_of``.
        masks: see ``outlines_of``; none without a mask head.
        panoptic: of each photograph ``image_id``, ``png_string`` and ``segments_info``, see ``detr_common.segments``;
            None where none are made.
    """

    boxes: list[dict[str, Any]] = field(default_factory=list)
    masks: list[dict[str, Any]] | None = None
    panoptic: list[dict[str, Any]] | None = None

    def add(self, image_id: int, result: Mapping[str, Array], panoptic: Mapping[str, Any] | None = None) -> None:
        """Take what was found in a photograph.

        Args:
            image_id: of the annotations.
            result: of post-processing: ``scores`` [Q], ``labels`` [Q], ``boxes`` [Q, 4] as (x0, y0, x1, y1) in pixels
                of the photograph, maybe ``masks`` [Q, 1, H, W].
            panoptic: its panoptic map.

        Raises:
            NotFiniteError: a score or a box is NaN or infinite.
        """
        self.boxes += detections_of(image_id, result)
        if "masks" in result:
            self.masks = self.masks or []
            self.masks += outlines_of(image_id, result)
        if panoptic is not None:
            self.panoptic = self.panoptic or []
            self.panoptic.append({"image_id": image_id, **panoptic})

    def extend(self, other: "Found") -> None:
        """Take what another process found."""
        self.boxes += other.boxes
        if other.masks is not None:
            self.masks = (self.masks or []) + other.masks
        if other.panoptic is not None:
            self.panoptic = (self.panoptic or []) + other.panoptic


def detections_of(image_id: int, result: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Return the detections on an image as COCO's result files have them.

    Args:
        image_id: of the annotations.
        result: see ``Found.add``.

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


def outlines_of(image_id: int, result: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Return the masks on an image as COCO's result files have them, as run-length codes; see ``detections_of``."""
    masks = np.asfortranarray(np.asarray(result["masks"], np.uint8)[:, 0].transpose(1, 2, 0))
    return [
        {"image_id": image_id, "category_id": int(label), "segmentation": code, "score": float(score)}
        for score, label, code in zip(result["scores"], result["labels"], coder.encode(masks), strict=True)
    ]


def evaluate_found(dataset: Photographs, found: Found, folder: Path | None = None) -> dict[str, float]:
    """Return all figures of what was found in the photographs of a data set.

    Args:
        dataset: with its annotations. Boxes and masks in photographs with panoptic annotations are compared with the
            instance annotations of those that have them.
        found: their category ids are those of the annotations.
        folder: where panoptic maps are left; None leaves none.

    Returns:
        Fractions: ``FIGURES``; with masks ``MASK_FIGURES``; with panoptic maps ``panoptic_names`` of each group.

    Raises:
        InputError: the maps cannot be written.
    """
    figures: dict[str, float] = {}
    truth = dataset.annotations if isinstance(dataset, CocoDetection) else None
    if isinstance(dataset, CocoPanoptic):
        truth = dataset.instances
        if found.panoptic is not None:
            figures = evaluate_panoptic(dataset.panoptic, found.panoptic, folder)
    if truth is None or not truth.images:
        return figures
    seen = {image["id"] for image in truth.images}
    boxes = [one for one in found.boxes if one["image_id"] in seen]
    figures = {**evaluate_boxes(truth, boxes), **figures}
    if found.masks is not None:
        figures |= evaluate_masks(truth, [one for one in found.masks if one["image_id"] in seen])
    return figures


def evaluate_boxes(annotations: Annotations, detections: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return average precision and recall of boxes on all images of ``annotations``.

    Args:
        annotations: ground truth.
        detections: see ``detections_of``; their category ids are those of the annotations.

    Returns:
        ``FIGURES``, fractions; -1 where there is nothing of the kind, as pycocotools has it. A dozen zeros, likewise
        -1 where nothing is to be found, without any detection.
    """
    return dict(zip(FIGURES, _figures(annotations, detections, "bbox"), strict=True))


def evaluate_masks(annotations: Annotations, outlines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the same of masks, ``MASK_FIGURES``; see ``outlines_of``."""
    return dict(zip(MASK_FIGURES, _figures(annotations, outlines, "segm"), strict=True))


def _figures(annotations: Annotations, results: Iterable[Mapping[str, Any]], kind: str) -> list[float]:
    truth = _index(annotations)
    found = [dict(one) for one in results]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(found) if found else COCO(), kind)
        evaluation.params.imgIds = sorted(truth.imgs)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def _index(annotations: Annotations) -> COCO:
    """Return pycocotools' own index of annotations."""
    truth = COCO()
    objects = [one for of_image in annotations.objects.values() for one in of_image]
    truth.dataset = {
        "info": {},
        "images": [dict(image) for image in annotations.images],
        # Numbered anew, since pycocotools takes an object with id 0 for none, and those without a number not at all.
        "annotations": [{**one, "id": i, "iscrowd": one.get("iscrowd", 0)} for i, one in enumerate(objects, 1)],
        "categories": [{"id": key, "name": name} for key, name in annotations.categories.items()],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth
