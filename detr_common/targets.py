"""What a loss takes is looked at before anything is computed: Jittor checks no index, and NaN spreads silently."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detr_common.errors import InputError, NotFiniteError

Array = npt.NDArray[Any]

_SIDES = ("cx", "cy", "w", "h")


def check_keys(targets: Sequence[Mapping[str, object]]) -> None:
    """Check that every target has labels and boxes.

    Raises:
        InputError: one has not; image and key are named.
    """
    for image, target in enumerate(targets):
        for key in ("labels", "boxes"):
            if key not in target:
                raise InputError(f"targets: image {image} has no {key}, only {', '.join(target) or 'nothing'}")


def check_targets(labels: Sequence[Array], boxes: Sequence[Array], images: int, classes: int) -> None:
    """Check the targets of a batch.

    Args:
        labels: for each image the class of each object, integers [n].
        boxes: for each image (cx, cy, w, h) of each object, floats [n, 4].
        images: number of images that there are predictions for.
        classes: number of classes without "no object".

    Raises:
        InputError: as many targets as images are not there, labels and boxes are not of these kinds and lengths, a
            label is not in 0 ... classes - 1, or a box is not finite or has no area. Image and object are named.
    """
    if len(labels) != images:
        raise InputError(f"targets: {len(labels)} for {images} images; give one for each image, also without objects")
    for image, (classes_of, corners_of) in enumerate(zip(labels, boxes, strict=True)):
        _check_kinds(image, classes_of, corners_of)
    if not sum(map(len, labels)):
        return
    # All at once, since a batch is checked in every step; where it is wrong is looked up afterwards.
    every_label, every_box = np.concatenate(list(labels)), np.concatenate(list(boxes))
    outside = (every_label < 0) | (every_label >= classes)
    if outside.any():
        first = int(outside.argmax())
        raise InputError(
            f"targets: {_place(labels, first)} has label {every_label[first]}; with {classes} classes labels are "
            f"0 to {classes - 1} (--dataset_file sets the number of classes)"
        )
    unusable = ~(np.isfinite(every_box).all(axis=1) & (every_box[:, 2:] > 0).all(axis=1))
    if unusable.any():
        first = int(unusable.argmax())
        raise InputError(
            f"targets: {_place(labels, first)} has box (cx, cy, w, h) = {every_box[first].tolist()}; "
            "boxes are finite, with a width and a height above zero: leave the others out of the target"
        )


def check_masks(shapes: Sequence[tuple[int, ...] | None], counts: Sequence[int]) -> None:
    """Check that the targets of a batch have masks.

    Args:
        shapes: of the masks of each image; None where there are none.
        counts: objects of each image.

    Raises:
        InputError: an image has no masks, or not one, [H, W], for each object.
    """
    for image, (shape, count) in enumerate(zip(shapes, counts, strict=True)):
        if shape is None:
            raise InputError(f"targets: image {image} has no masks; a detector of masks learns from them")
        if len(shape) != 3 or shape[0] != count or 0 in shape[1:]:
            raise InputError(
                f"targets: image {image} has masks {list(shape)}; for {count} objects they are [{count}, H, W]"
            )


def check_predictions(logits: Array, boxes: Array) -> None:
    """Check that predictions can be matched.

    Args:
        logits: [B, Q, classes + 1].
        boxes: [B, Q, 4] as (cx, cy, w, h).

    Raises:
        NotFiniteError: a value is NaN or infinite; the first is named.
        InputError: a box has a negative width or height; the first is named.
    """
    for name, values in (("pred_logits", logits), ("pred_boxes", boxes)):
        wrong = ~np.isfinite(values)
        if wrong.any():
            image, query, entry = np.argwhere(wrong)[0]
            what = f"class {entry}" if name == "pred_logits" else _SIDES[entry]
            raise NotFiniteError(
                f"{name}: {values[image, query, entry]} at image {image}, query {query}, {what} "
                f"({int(wrong.sum())} of {wrong.size} values are not finite); the model has diverged or its input is "
                "not finite"
            )
    negative = boxes[..., 2:] < 0
    if negative.any():
        image, query, _ = np.argwhere(negative)[0]
        raise InputError(
            f"pred_boxes: image {image}, query {query} has (cx, cy, w, h) = {boxes[image, query].tolist()}; widths and "
            "heights are not negative"
        )


def check_cost(cost: Array) -> None:
    """Check that a matching cost [B, Q, n] is finite, which it is not where finite predictions overflow.

    Raises:
        NotFiniteError: it is not; the first place is named.
    """
    wrong = ~np.isfinite(cost)
    if wrong.any():
        image, query, box = np.argwhere(wrong)[0]
        raise NotFiniteError(
            f"matching cost: {cost[image, query, box]} between query {query} of image {image} and object {box} of the "
            "batch; pred_boxes or the cost coefficients are too large"
        )


def check_corners(boxes: Array, name: str) -> None:
    """Check boxes [n, 4] as (x0, y0, x1, y1).

    Raises:
        InputError: a value is NaN, or x1 < x0 or y1 < y0; the first box is named.
    """
    wrong = ~(boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    if wrong.any():
        first = int(wrong.argmax())
        raise InputError(
            f"{name}: box {first} is (x0, y0, x1, y1) = {boxes[first].tolist()}; x1 is at least x0 and y1 at least y0 "
            "(boxes given by centre and size are turned by box_cxcywh_to_xyxy)"
        )


def _check_kinds(image: int, labels: Array, boxes: Array) -> None:
    where = f"targets: image {image}"
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{where} has labels {list(labels.shape)} of {labels.dtype}; they are integers [n]")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind != "f":
        raise InputError(f"{where} has boxes {list(boxes.shape)} of {boxes.dtype}; they are floats [n, 4]")
    if len(labels) != len(boxes):
        raise InputError(f"{where} has {len(labels)} labels and {len(boxes)} boxes; each object has one of both")


def _place(labels: Sequence[Array], index: int) -> str:
    """Say which image and which of its objects the object ``index`` of the batch is."""
    image = 0
    while index >= len(labels[image]):
        index -= len(labels[image])
        image += 1
    return f"object {index} of image {image}"
