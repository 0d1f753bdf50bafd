"""Plants the faults of the losses rung in the criterion of detr_jt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn

from detr_jt import criterion as criterion_file
from detr_jt import matcher as matcher_file
from detr_jt.box_ops import box_cxcywh_to_xyxy, paired_generalized_box_iou, product
from detr_jt.layers import constant, maximum, minimum
from parity.mutants.planting import Module, fault, override, override_with


@fault("no-object-weight-one")
def _no_object_weight(criterion: Module) -> None:
    criterion.empty_weight = jt.ones_like(criterion.empty_weight).stop_grad()


@fault("no-object-weight-first")
def _no_object_first(criterion: Module) -> None:
    criterion.empty_weight = jt.array(criterion.empty_weight.numpy()[::-1].copy()).stop_grad()


@fault("cross-entropy-plain-mean")
def _plain_mean(cross_entropy: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], logits: Any, labels: Any, weight: Any) -> Any:
        return original(logits, labels, weight) * (weight[labels].sum() / constant(len(labels), weight))

    override(cross_entropy, execute)


@fault("cross-entropy-of-probabilities")
def _softmax_twice(cross_entropy: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], logits: Any, labels: Any, weight: Any) -> Any:
        return original(nn.softmax(logits, dim=-1), labels, weight)

    override(cross_entropy, execute)


@fault("labels-shifted")
def _labels_shifted(labels: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], outputs: Any, targets: Any, *args: Any) -> Any:
        return original(outputs, [{**target, "labels": target["labels"] + 1} for target in targets], *args)

    override(labels, execute)


@fault("unmatched-are-class-zero")
def _unmatched_zero(labels: Module) -> None:
    override_with(labels, jt, "full", lambda full, shape, value, dtype: full(shape, 0, dtype=dtype))


@fault("auxiliary-weight")
def _auxiliary_weight(criterion: Module, size: float) -> None:
    criterion.weight_dict["loss_giou_0"] *= 1 + size


@fault("last-layer-not-counted")
def _last_layer(criterion: Module) -> None:
    for name in ("loss_ce", "loss_bbox", "loss_giou"):
        del criterion.weight_dict[name]


def _iou(boxes1: Any, boxes2: Any) -> Any:
    """Return the plain IoU of each box with its partner; both as corners."""
    overlap = minimum(boxes1[..., 2:], boxes2[..., 2:]) - maximum(boxes1[..., :2], boxes2[..., :2])
    intersection = product(overlap.clamp(0))
    return intersection / (
        product(boxes1[..., 2:] - boxes1[..., :2]) + product(boxes2[..., 2:] - boxes2[..., :2]) - intersection
    )


@fault("giou-without-hull")
def _without_hull(giou: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], boxes: Any, found: Any) -> Any:
        corners = box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(found)
        return original(boxes, found) + paired_generalized_box_iou(*corners) - _iou(*corners)

    override(giou, execute)


@fault("giou-of-centres")
def _giou_of_centres(giou: Module) -> None:
    override_with(giou, criterion_file, "box_cxcywh_to_xyxy", lambda _, boxes: boxes)


@fault("giou-negated")
def _giou_negated(giou: Module) -> None:
    override(giou, lambda self, execute, boxes, found: 2 - execute(boxes, found))


@fault("l1-of-corners")
def _l1_of_corners(l1: Module) -> None:
    override(l1, lambda self, execute, a, b: execute(box_cxcywh_to_xyxy(a), box_cxcywh_to_xyxy(b)))


@fault("l1-mean")
def _l1_mean(l1: Module) -> None:
    override(l1, lambda self, execute, boxes, found: execute(boxes, found) / 4)


@fault("boxes-not-counted")
def _boxes_not_counted(boxes: Module) -> None:
    override(boxes, lambda self, execute, outputs, targets, indices, count: execute(outputs, targets, indices, 1.0))


@fault("boxes-counted-one-more")
def _boxes_one_more(boxes: Module, size: float) -> None:
    override(boxes, lambda self, execute, outputs, targets, indices, n: execute(outputs, targets, indices, n + size))


@fault("matched-by-product")
def _matched_by_product(boxes: Module) -> None:
    def product_of(matched: Callable[..., Any], indices: Any) -> Any:
        images, queries = matched(indices)
        return images[:, None], queries[None]

    override_with(boxes, criterion_file, "matched_queries", product_of)


@fault("matching-sorted-apart")
def _matching_sorted(matcher: Module) -> None:
    override(
        matcher,
        lambda self, execute, *args: [
            (queries, jt.array(np.sort(objects.numpy()))) for queries, objects in execute(*args)
        ],
    )


@fault("matching-of-last-layer")
def _matching_of_last(criterion: Module) -> None:
    kept: list[Any] = []

    def layer_losses(self: Module, original: Callable[..., Any], *args: Any, log: bool, **more: Any) -> Any:
        if log:
            kept[:] = [self.matcher(*args[:2])]
        matcher, self.matcher = self.matcher, lambda *_: kept[0]
        try:
            return original(*args, log=log, **more)
        finally:
            self.matcher = matcher

    override(criterion, layer_losses, "layer_losses")


@fault("matching-class-sign")
def _matching_class_sign(cost: Module) -> None:
    cost.cost_class = -cost.cost_class


@fault("matching-without-giou")
def _matching_without_giou(cost: Module) -> None:
    cost.cost_giou = 0


@fault("matching-by-iou")
def _matching_by_iou(cost: Module) -> None:
    override_with(cost, matcher_file, "generalized_box_iou", lambda _, a, b: _iou(a[:, None], b[None]))


@fault("matching-by-logits")
def _matching_by_logits(cost: Module) -> None:
    override_with(cost, nn, "softmax", lambda _, logits, dim: logits)


@fault("class-error-of-values")
def _class_error_of_values(labels: Module) -> None:
    override_with(labels, jt, "argmax", lambda argmax, x, dim: argmax(x, dim)[::-1])


@fault("cardinality-of-values")
def _cardinality_of_values(cardinality: Module) -> None:
    override_with(cardinality, jt, "argmax", lambda argmax, x, dim: argmax(x, dim)[::-1])


@fault("cardinality-first-class")
def _cardinality_first(cardinality: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], outputs: Any, targets: Any) -> Any:
        logits = outputs["pred_logits"]
        return original({"pred_logits": jt.concat((logits[..., 1:], logits[..., :1]), dim=-1)}, targets)

    override(cardinality, execute)
