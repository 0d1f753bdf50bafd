"""Predictions to detections in pixels, to masks, and to panoptic maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import jittor as jt
import numpy as np
from jittor import Var, nn

from detr_common.segments import panoptic_map, to_png
from detr_jt.box_ops import box_cxcywh_to_xyxy
from detr_jt.layers import constant
from detr_jt.resize import resize_bilinear, resize_nearest


class PostProcess(nn.Module):
    """One detection a query: its best class that is not "no object", and its box in pixels."""

    def execute(self, outputs: dict[str, Var], target_sizes: Var) -> list[dict[str, Var]]:
        """Turn a batch of predictions into detections.

        Args:
            outputs: ``pred_logits`` [B, Q, classes + 1] and ``pred_boxes`` [B, Q, 4].
            target_sizes: [B, 2], height and width of every image in pixels.

        Returns:
            For each image ``scores`` [Q], ``labels`` [Q] and ``boxes`` [Q, 4] as (x0, y0, x1, y1) in pixels.

        Raises:
            ValueError: there is not one size for each image.
        """
        logits, boxes = outputs["pred_logits"], outputs["pred_boxes"]
        check_sizes(logits, target_sizes=target_sizes)
        with jt.no_grad():
            labels, scores = jt.argmax(nn.softmax(logits, dim=-1)[..., :-1], -1)  # the index comes first
            height, width = target_sizes.cast(str(boxes.dtype)).unbind(1)
            boxes = box_cxcywh_to_xyxy(boxes) * jt.stack([width, height, width, height], dim=1)[:, None, :]
            results = zip(scores, labels, boxes, strict=True)
            return [{"scores": s, "labels": k, "boxes": b} for s, k, b in results]


class PostProcessSegm(nn.Module):
    """The mask of each detection, in pixels of the photograph.

    Args:
        threshold: probability above which a pixel is inside.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def execute(
        self,
        results: list[dict[str, Var]],
        outputs: dict[str, Var],
        orig_target_sizes: Var,
        max_target_sizes: Var,
    ) -> list[dict[str, Var]]:
        """Add masks to detections.

        Args:
            results: of ``PostProcess``.
            outputs: ``pred_masks`` [B, Q, H', W'].
            orig_target_sizes: [B, 2], height and width of every photograph in pixels.
            max_target_sizes: [B, 2], those of the images that the detector was given, before padding.

        Returns:
            ``results`` with ``masks``, uint8 [Q, 1, H, W] of 0 and 1.

        Raises:
            ValueError: there is not one size for each image.
        """
        masks = outputs["pred_masks"]
        check_sizes(masks, orig_target_sizes=orig_target_sizes, max_target_sizes=max_target_sizes)
        sizes = list(zip(max_target_sizes.tolist(), orig_target_sizes.tolist(), strict=True))
        with jt.no_grad():
            for result, logits, (own, there) in zip(results, masks, sizes, strict=True):
                inside = resize_bilinear(logits[None], padded_size(sizes)).sigmoid()
                inside = inside > constant(self.threshold, inside)
                inside = inside[:, :, : own[0], : own[1]].cast("uint8")
                result["masks"] = resize_nearest(inside, there)[0][:, None]
        return results


class PostProcessPanoptic(nn.Module):
    """A panoptic map: every pixel belongs to one of the queries that are sure of what they found.

    Upstream stretches the mask of a padded image to the size of the image; the padding is cut off here, which is the
    same for a batch of one image, as upstream evaluates.

    Args:
        is_thing_map: whether objects of a category are told apart, by its id.
        threshold: probability of the class above which a query is sure.
    """

    def __init__(self, is_thing_map: Mapping[int, bool], threshold: float = 0.85) -> None:
        super().__init__()
        self.is_thing_map = dict(is_thing_map)
        self.threshold = threshold

    def execute(
        self, outputs: dict[str, Var], processed_sizes: Var, target_sizes: Var | None = None
    ) -> list[dict[str, Any]]:
        """Make a map of each image.

        Args:
            outputs: ``pred_logits`` [B, Q, classes + 1] and ``pred_masks`` [B, Q, H', W'].
            processed_sizes: [B, 2], height and width of the images that the detector was given, before padding.
            target_sizes: [B, 2], those of the maps; None for the same.

        Returns:
            For each image ``png_string`` and ``segments_info``, see ``detr_common.segments.panoptic_map``.

        Raises:
            ValueError: there is not one size for each image.
        """
        target_sizes = processed_sizes if target_sizes is None else target_sizes
        logits, masks = outputs["pred_logits"], outputs["pred_masks"]
        check_sizes(masks, processed_sizes=processed_sizes, target_sizes=target_sizes)
        sizes = list(zip(processed_sizes.tolist(), target_sizes.tolist(), strict=True))
        with jt.no_grad():
            labels, scores = jt.argmax(nn.softmax(logits, dim=-1), -1)  # the index comes first
            sure = ((labels != logits.shape[-1] - 1) & (scores > constant(self.threshold, scores))).numpy()
            labels, padded = labels.numpy(), padded_size(sizes)
            return [
                self.map_of(labels[i], sure[i], masks[i], padded, own, there) for i, (own, there) in enumerate(sizes)
            ]

    def map_of(
        self,
        labels: np.ndarray,
        sure: np.ndarray,
        masks: Var,
        padded: tuple[int, int],
        size: list[int],
        target_size: list[int],
    ) -> dict[str, Any]:
        """Make the map of an image: labels [Q], which of them are sure [Q], and masks [Q, H', W']."""
        chosen = np.flatnonzero(sure)

        def owners(left: np.ndarray) -> np.ndarray:
            """Return which of the chosen queries that are left each pixel belongs to."""
            there = masks[jt.array(chosen[left])]
            there = resize_bilinear(there[None], padded)[0, :, : size[0], : size[1]]
            return jt.argmax(nn.softmax(there, dim=0), 0)[0].numpy()

        height, width = target_size
        return panoptic_map(labels[chosen], owners, self.is_thing_map, (height, width), to_png)


def postprocess(
    postprocessors: Mapping[str, nn.Module], outputs: dict[str, Var], orig_target_sizes: Var, max_target_sizes: Var
) -> tuple[list[dict[str, Var]], list[dict[str, Any] | None]]:
    """Make all that can be made of a batch of predictions.

    Args:
        postprocessors: ``bbox``, and maybe ``segm`` and ``panoptic``.
        outputs: see ``PostProcess`` and ``PostProcessSegm``.
        orig_target_sizes: see ``PostProcessSegm``.
        max_target_sizes: likewise.

    Returns:
        For each image its detections, with masks if there are any, and its panoptic map or None.
    """
    results = postprocessors["bbox"](outputs, orig_target_sizes)
    maps: list[dict[str, Any] | None] = [None for _ in results]
    if "segm" in postprocessors:
        results = postprocessors["segm"](results, outputs, orig_target_sizes, max_target_sizes)
    if "panoptic" in postprocessors:
        maps = postprocessors["panoptic"](outputs, max_target_sizes, orig_target_sizes)
    return results, maps


def check_sizes(images: Var, **sizes: Var) -> None:
    """Check that there is one size for each image.

    Raises:
        ValueError: there is not.
    """
    for name, given in sizes.items():
        if tuple(given.shape) != (len(images), 2):
            raise ValueError(f"{len(images)} images need {name} [{len(images)}, 2], not {list(given.shape)}")


def padded_size(sizes: Sequence[tuple[list[int], list[int]]]) -> tuple[int, int]:
    """Return the size of a padded batch, whose images have the first of each pair of sizes."""
    return max(own[0] for own, _ in sizes), max(own[1] for own, _ in sizes)
