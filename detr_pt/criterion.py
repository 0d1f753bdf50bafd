"""The losses of set prediction, on the queries that were matched (DETR, sections 3.1 and A.2)."""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detr_common.errors import InputError
from detr_common.options import num_classes
from detr_pt.box_ops import box_cxcywh_to_xyxy, paired_generalized_box_iou
from detr_pt.layers import Absolute, Clamp, Maximum, Minimum
from detr_pt.mask_loss import MaskLoss, checked_masks
from detr_pt.matcher import build_matcher, checked_targets
from detr_pt.processes import average, total, world_size

Losses = dict[str, Tensor]
Outputs = dict[str, Tensor]
Matches = Sequence[tuple[Tensor, Tensor]]
Targets = Sequence[dict[str, Tensor]]


class CrossEntropy(nn.Module):
    """Cross entropy with a weight for each class, averaged by these weights, in training those of all processes."""

    def forward(self, logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        """Reduce logits [N, C] and labels [N] with weights [C] to one number."""
        nll = -logits.log_softmax(-1)[torch.arange(len(labels), device=labels.device), labels]
        weight = weight[labels]
        weights = weight.sum()
        return (nll * weight).sum() / (average(weights) if self.training else weights)


class LabelLoss(nn.Module):
    """Classification: a matched query has the class of its object, any other has "no object"."""

    def __init__(self) -> None:
        super().__init__()
        self.cross_entropy = CrossEntropy()

    def forward(self, outputs: Outputs, targets: Targets, indices: Matches, weight: Tensor, log: bool) -> Losses:
        """Return ``loss_ce`` and, if ``log``, ``class_error``.

        ``class_error`` is the percentage of matched queries with another class than their object, 100 without objects.
        """
        logits = outputs["pred_logits"]
        classes = logits.shape[-1]
        matched = matched_queries(indices)
        found = torch.cat([target["labels"][chosen] for target, (_, chosen) in zip(targets, indices, strict=True)])
        labels = torch.full(logits.shape[:2], classes - 1, dtype=torch.int64, device=logits.device)
        labels[matched] = found
        losses = {"loss_ce": self.cross_entropy(logits.flatten(0, 1), labels.flatten(), weight.to(logits.dtype))}
        if log:
            right = logits.detach()[matched].argmax(-1) == found
            percent = 100 / count_over_processes(len(found), logits, self.training)
            losses["class_error"] = 100 - right.to(logits.dtype).sum() * percent
        return losses


class CardinalityError(nn.Module):
    """How many more or fewer objects than there are are found in an image; to be logged, without gradient."""

    def forward(self, outputs: Outputs, targets: Targets) -> Losses:
        """Return ``cardinality_error``, the mean over images of the absolute difference."""
        logits = outputs["pred_logits"].detach()
        found = (logits.argmax(-1) != logits.shape[-1] - 1).to(logits.dtype).sum(1)
        there = torch.tensor([len(target["labels"]) for target in targets], dtype=logits.dtype, device=logits.device)
        return {"cardinality_error": (found - there).abs().mean()}


class L1Distance(nn.Module):
    """The sum of the absolute differences of (cx, cy, w, h)."""

    def __init__(self) -> None:
        super().__init__()
        self.absolute = Absolute()

    def forward(self, boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Map boxes [N, 4] and [N, 4] to [N]."""
        return self.absolute(boxes - target_boxes).sum(-1)


class GIoUDistance(nn.Module):
    """One minus the generalized IoU of boxes given as (cx, cy, w, h)."""

    def __init__(self) -> None:
        super().__init__()
        self.smaller = Minimum()
        self.larger = Maximum()
        self.clamp = Clamp()

    def forward(self, boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Map boxes [N, 4] and [N, 4] to [N], from 0 to 2."""
        corners = box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target_boxes)
        return 1 - paired_generalized_box_iou(*corners, self.smaller, self.larger, self.clamp)


class BoxLoss(nn.Module):
    """Localisation: L1 distance and generalized IoU between matched queries and their objects."""

    def __init__(self) -> None:
        super().__init__()
        self.l1 = L1Distance()
        self.giou = GIoUDistance()

    def forward(self, outputs: Outputs, targets: Targets, indices: Matches, num_boxes: float) -> Losses:
        """Return ``loss_bbox`` and ``loss_giou``, sums over objects divided by ``num_boxes``."""
        boxes = outputs["pred_boxes"][matched_queries(indices)]
        found = torch.cat([target["boxes"][chosen] for target, (_, chosen) in zip(targets, indices, strict=True)])
        losses = {"loss_bbox": self.l1(boxes, found), "loss_giou": self.giou(boxes, found)}
        return {name: value.sum() / num_boxes for name, value in losses.items()}


class SetCriterion(nn.Module):
    """All losses of a batch: match queries to objects, then compare each pair, for every decoder layer.

    Args:
        num_classes: classes without "no object".
        matcher: gives for each image the queries and the objects they answer for.
        weight_dict: by how much each loss counts in the total, see ``total_loss``.
        eos_coef: weight of the class "no object".
        losses: of ``labels``, ``boxes``, ``cardinality`` and ``masks`` those that are wanted, in their order.

    Raises:
        InputError: an unknown name in ``losses``.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: nn.Module,
        weight_dict: dict[str, float],
        eos_coef: float,
        losses: Sequence[str],
    ) -> None:
        super().__init__()
        if not set(losses) <= {"labels", "boxes", "cardinality", "masks"}:
            raise InputError(f"losses are labels, boxes, cardinality and masks, not {', '.join(losses)}")
        self.num_classes = num_classes
        self.matcher = matcher
        self.weight_dict = weight_dict
        self.losses = list(losses)
        self.labels = LabelLoss()
        self.boxes = BoxLoss()
        self.cardinality = CardinalityError()
        if "masks" in losses:
            self.masks = MaskLoss()
        # float64 until build_criterion casts it, so that eos_coef is rounded no more than once.
        weight = torch.ones(num_classes + 1, dtype=torch.float64)
        weight[-1] = eos_coef
        self.register_buffer("empty_weight", weight)

    def forward(self, outputs: dict[str, Tensor | list[dict[str, Tensor]]], targets: Targets) -> Losses:
        """Compare predictions with what is there.

        Args:
            outputs: ``pred_logits`` [B, Q, num_classes + 1], ``pred_boxes`` [B, Q, 4] as (cx, cy, w, h), fractions of
                the image; for masks ``pred_masks`` [B, Q, H', W']; and, if there are earlier decoder layers,
                ``aux_outputs``, the first two for each.
            targets: for each image ``labels``, integers [n] from 0 to num_classes - 1, and ``boxes`` [n, 4] as (cx,
                cy, w, h); for masks ``masks``, bool [n, H, W]. n may be 0 and may exceed Q.

        Returns:
            Scalars: ``loss_ce``, ``class_error``, ``loss_bbox``, ``loss_giou``, ``cardinality_error``, ``loss_mask``
            and ``loss_dice``, as far as they are wanted; then, except for ``class_error`` and masks, the same of each
            earlier layer with ``_0``, ``_1`` ... behind the name. No gradient flows to the two errors.

        Raises:
            InputError: the predictions are of another number of classes, or see ``HungarianMatcher`` and
                ``checked_masks``.
            NotFiniteError: a prediction is NaN or infinite.
        """
        if outputs["pred_logits"].shape[-1] != self.num_classes + 1:
            raise InputError(
                f"pred_logits {list(outputs['pred_logits'].shape)}: the criterion has {self.num_classes} classes and "
                f'"no object", so the last axis is {self.num_classes + 1}'
            )
        masks = checked_masks(targets) if "masks" in self.losses else []
        targets = checked_targets(outputs, targets)
        count = sum(len(target["labels"]) for target in targets)
        num_boxes = count_over_processes(count, outputs["pred_logits"], self.training)
        losses = self.layer_losses(outputs, targets, num_boxes, log=True, masks=masks)
        for i, layer in enumerate(outputs.get("aux_outputs", [])):
            try:
                earlier = self.layer_losses(layer, targets, num_boxes, log=False)
            except InputError as error:
                raise type(error)(f"aux_outputs {i}: {error}") from error
            losses.update({f"{name}_{i}": value for name, value in earlier.items()})
        return losses

    def layer_losses(
        self, outputs: Outputs, targets: Targets, num_boxes: float, log: bool, masks: Sequence[Tensor] = ()
    ) -> Losses:
        """Return the losses of one decoder layer, which is matched on its own; those of masks of the last alone."""
        indices = self.matcher(outputs, targets)
        losses = {}
        for name in self.losses:
            if name == "labels":
                losses.update(self.labels(outputs, targets, indices, self.empty_weight, log))
            elif name == "boxes":
                losses.update(self.boxes(outputs, targets, indices, num_boxes))
            elif name == "cardinality":
                losses.update(self.cardinality(outputs, targets))
            elif masks:
                found = [mask[chosen] for mask, (_, chosen) in zip(masks, indices, strict=True)]
                losses.update(self.masks(outputs["pred_masks"], found, matched_queries(indices), num_boxes))
        return losses


def matched_queries(indices: Matches) -> tuple[Tensor, Tensor]:
    """Return the image and the query of every matched pair, both [N], to index [B, Q, ...] with."""
    images = torch.cat([torch.full_like(queries, image) for image, (queries, _) in enumerate(indices)])
    return images, torch.cat([queries for queries, _ in indices])


def count_over_processes(count: int, like: Tensor, training: bool) -> float:
    """Return a number of objects, in training the mean over all processes; at least 1.

    The processes speak through the device of ``like``. An evaluation is that of a single process, whoever shares it.
    """
    if not training or world_size() == 1:
        return max(float(count), 1.0)
    return max(total(torch.tensor([count], dtype=torch.float64, device=like.device)).item() / world_size(), 1.0)


def total_loss(losses: Losses, weight_dict: dict[str, float]) -> Tensor:
    """Return the weighted sum of the losses that ``weight_dict`` names, which is what is minimised."""
    return sum(losses[name] * weight_dict[name] for name in losses if name in weight_dict)


def build_criterion(args: argparse.Namespace) -> SetCriterion:
    """Return the criterion that ``args`` describes, with the same weights for every decoder layer."""
    weights = {"loss_ce": 1.0, "loss_bbox": args.bbox_loss_coef, "loss_giou": args.giou_loss_coef}
    weight_dict = dict(weights)
    if args.aux_loss:
        for i in range(args.dec_layers - 1):
            weight_dict.update({f"{name}_{i}": weight for name, weight in weights.items()})
    losses = ["labels", "boxes", "cardinality"]
    if args.masks:
        losses.append("masks")
        weight_dict.update({"loss_mask": args.mask_loss_coef, "loss_dice": args.dice_loss_coef})
    criterion = SetCriterion(num_classes(args), build_matcher(args), weight_dict, args.eos_coef, losses)
    return criterion.to(device=args.device, dtype=getattr(torch, args.dtype))
