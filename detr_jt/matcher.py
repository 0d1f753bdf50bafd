"""Which query answers for which object: the assignment of least cost (DETR, section 3.1)."""

import argparse
from collections.abc import Sequence

import jittor as jt
from jittor import Var, nn
from scipy.optimize import linear_sum_assignment

from detr_common.errors import InputError
from detr_common.targets import check_cost, check_keys, check_predictions, check_targets
from detr_jt.box_ops import box_cxcywh_to_xyxy, generalized_box_iou
from detr_jt.layers import constant


class MatchingCost(nn.Module):
    """What it costs that a query answers for an object.

    Args:
        cost_class: weight of minus the probability of the object's class.
        cost_bbox: weight of the L1 distance of the boxes (cx, cy, w, h).
        cost_giou: weight of minus the generalized IoU of the boxes.
    """

    def __init__(self, cost_class: float, cost_bbox: float, cost_giou: float) -> None:
        super().__init__()
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou

    def execute(self, logits: Var, boxes: Var, labels: Var, target_boxes: Var) -> Var:
        """Return [B, Q, n] for logits [B, Q, classes + 1], boxes [B, Q, 4], labels [n] and target_boxes [n, 4]."""
        batch, queries = logits.shape[:2]
        probability = nn.softmax(logits, dim=-1).flatten(0, 1)[:, labels]
        boxes = boxes.flatten(0, 1)
        distance = (boxes[:, None] - target_boxes[None]).abs().sum(-1)
        giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target_boxes))
        cost = (
            distance * constant(self.cost_bbox, distance)
            - probability * constant(self.cost_class, probability)
            - giou * constant(self.cost_giou, giou)
        )
        return cost.reshape(batch, queries, -1)


class HungarianMatcher(nn.Module):
    """Assigns to each object another query, so that the whole costs least.

    Args:
        cost_class: see ``MatchingCost``.
        cost_bbox: see ``MatchingCost``.
        cost_giou: see ``MatchingCost``.

    Raises:
        InputError: all three are 0.
    """

    def __init__(self, cost_class: float = 1, cost_bbox: float = 1, cost_giou: float = 1) -> None:
        super().__init__()
        if cost_class == 0 and cost_bbox == 0 and cost_giou == 0:
            raise InputError("all matching costs are 0; --set_cost_class, --set_cost_bbox or --set_cost_giou is not")
        self.cost = MatchingCost(cost_class, cost_bbox, cost_giou)

    def execute(self, outputs: dict[str, Var], targets: Sequence[dict[str, Var]]) -> list[tuple[Var, Var]]:
        """Match the queries of every image to its objects; no gradient flows.

        Args:
            outputs: ``pred_logits`` [B, Q, classes + 1] and ``pred_boxes`` [B, Q, 4] as (cx, cy, w, h).
            targets: for each image ``labels``, integers [n], and ``boxes`` [n, 4] as (cx, cy, w, h).

        Returns:
            For each image the queries, ascending, and the objects they answer for, both int64 [min(n, Q)].

        Raises:
            InputError: a target cannot be used, or a predicted box has a negative size.
            NotFiniteError: a prediction is NaN or infinite.
        """
        logits, boxes = outputs["pred_logits"].detach(), outputs["pred_boxes"].detach()
        targets = checked_targets(outputs, targets)
        check_predictions(logits.numpy(), boxes.numpy())
        with jt.no_grad():
            labels = jt.concat([target["labels"] for target in targets])
            cost = self.cost(logits, boxes, labels, jt.concat([target["boxes"] for target in targets])).numpy()
        check_cost(cost)
        pairs, start = [], 0
        for image, target in enumerate(targets):
            end = start + len(target["labels"])
            rows, columns = linear_sum_assignment(cost[image, :, start:end])
            pairs.append((jt.array(rows, dtype="int64"), jt.array(columns, dtype="int64")))
            start = end
        return pairs


def checked_targets(outputs: dict[str, Var], targets: Sequence[dict[str, Var]]) -> list[dict[str, Var]]:
    """Return ``labels`` as int64 and ``boxes`` in the dtype of the predictions, if they can be used.

    Args:
        outputs: see ``HungarianMatcher``.
        targets: see ``HungarianMatcher``.

    Raises:
        InputError: see ``detr_common.targets``.
    """
    check_keys(targets)
    images, _, classes = outputs["pred_logits"].shape
    labels, boxes = ([target[key] for target in targets] for key in ("labels", "boxes"))
    check_targets([v.numpy() for v in labels], [v.numpy() for v in boxes], images, classes - 1)
    dtype = str(outputs["pred_boxes"].dtype)
    return [{"labels": k.int64(), "boxes": b.cast(dtype)} for k, b in zip(labels, boxes, strict=True)]


def build_matcher(args: argparse.Namespace) -> HungarianMatcher:
    """Return the matcher that ``args`` describes."""
    return HungarianMatcher(args.set_cost_class, args.set_cost_bbox, args.set_cost_giou)
