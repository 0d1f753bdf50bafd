"""DETR in PyTorch as it is usually written, to be measured against; nothing else uses it.

The model is detr_pt's with the parts that it computes otherwise put back: frozen batch norm as operations on whole maps
(upstream's ``FrozenBatchNorm2d``), torchvision's ReLU in place, ``nn.MultiheadAttention``, PyTorch's own dropout and
pooling, losses of one decoder layer after another with a read of each number, and PyTorch's own AdamW and clipping as
they come.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_convert, generalized_box_iou

from detr_pt.attention import MultiheadAttention
from detr_pt.detr import build_model
from detr_pt.layers import Dropout, FrozenBatchNorm2d, MaxPool2d

Targets = Sequence[Mapping[str, Tensor]]


class PlainBatchNorm(nn.Module):
    """Frozen batch norm as four operations."""

    def __init__(self, frozen: FrozenBatchNorm2d) -> None:
        super().__init__()
        self.eps = frozen.eps
        for name, buffer in frozen.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a map [B, C, H, W]."""
        weight, bias, mean, var = (
            getattr(self, name).reshape(1, -1, 1, 1) for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight * (var + self.eps).rsqrt()
        return x * scale + (bias - mean * scale)


class PlainAttention(nn.Module):
    """``nn.MultiheadAttention``, whose attention weights nobody asks for but which are made."""

    def __init__(self, attention: MultiheadAttention) -> None:
        super().__init__()
        dropout = attention.dropout.p
        self.inner = nn.MultiheadAttention(attention.embed_dim, attention.num_heads, dropout=dropout)
        self.inner.load_state_dict(attention.state_dict())

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Attend; see ``detr_pt.attention``."""
        attended: Tensor = self.inner(query, key, value, key_padding_mask=key_padding_mask)[0]
        return attended


PUT_BACK: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    FrozenBatchNorm2d: PlainBatchNorm,
    MultiheadAttention: PlainAttention,
    Dropout: lambda dropout: nn.Dropout(dropout.p),
    MaxPool2d: lambda _: nn.MaxPool2d(3, stride=2, padding=1),
}


def plain_model(args: argparse.Namespace) -> nn.Module:
    """Return the detector that ``args`` describes, as it is usually written."""
    model: nn.Module = build_model(args)[0]
    for module in model.get_submodule("backbone").modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) in PUT_BACK:
                setattr(module, name, PUT_BACK[type(child)](child))
    return model


class PlainCriterion(nn.Module):
    """The losses of set prediction, decoder layer by decoder layer (DETR, sections 3.1 and A.2)."""

    def __init__(self, args: argparse.Namespace, classes: int) -> None:
        super().__init__()
        self.args = args
        self.classes = classes
        weight = torch.ones(classes + 1)
        weight[-1] = args.eos_coef
        self.register_buffer("weight", weight)

    def forward(self, outputs: dict[str, Any], targets: Targets) -> dict[str, Tensor]:
        """Return every loss by its name."""
        losses = self.layer(outputs, targets)
        for index, earlier in enumerate(outputs.get("aux_outputs", [])):
            losses.update({f"{name}_{index}": value for name, value in self.layer(earlier, targets).items()})
        return losses

    @torch.no_grad()
    def match(self, outputs: dict[str, Tensor], targets: Targets) -> list[tuple[Tensor, Tensor]]:
        """Return for each image the queries, and the objects they answer for."""
        logits, boxes = outputs["pred_logits"], outputs["pred_boxes"]
        probability, predicted = logits.flatten(0, 1).softmax(-1), boxes.flatten(0, 1)
        labels = torch.cat([target["labels"] for target in targets])
        there = torch.cat([target["boxes"] for target in targets])
        giou = generalized_box_iou(box_convert(predicted, "cxcywh", "xyxy"), box_convert(there, "cxcywh", "xyxy"))
        cost = (
            self.args.set_cost_bbox * torch.cdist(predicted, there, p=1)
            - self.args.set_cost_class * probability[:, labels]
            - self.args.set_cost_giou * giou
        )
        parts = cost.view(*logits.shape[:2], -1).cpu().split([len(target["labels"]) for target in targets], -1)
        pairs = [linear_sum_assignment(part[image]) for image, part in enumerate(parts)]
        return [(torch.as_tensor(rows), torch.as_tensor(columns)) for rows, columns in pairs]

    def layer(self, outputs: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """Return the losses of one decoder layer."""
        pairs = self.match(outputs, targets)
        images = torch.cat([torch.full_like(rows, image) for image, (rows, _) in enumerate(pairs)])
        at = images, torch.cat([rows for rows, _ in pairs])
        count = max(float(sum(len(target["labels"]) for target in targets)), 1.0)
        logits, boxes = outputs["pred_logits"], outputs["pred_boxes"][at]
        labels = torch.full(logits.shape[:2], self.classes, dtype=torch.int64, device=logits.device)
        labels[at] = torch.cat([target["labels"][columns] for target, (_, columns) in zip(targets, pairs, strict=True)])
        there = torch.cat([target["boxes"][columns] for target, (_, columns) in zip(targets, pairs, strict=True)])
        giou = generalized_box_iou(box_convert(boxes, "cxcywh", "xyxy"), box_convert(there, "cxcywh", "xyxy"))
        found = (logits.argmax(-1) != self.classes).sum(1).float()
        objects = torch.tensor([len(target["labels"]) for target in targets], device=logits.device)
        return {
            "loss_ce": F.cross_entropy(logits.transpose(1, 2), labels, self.weight),
            "loss_bbox": F.l1_loss(boxes, there, reduction="none").sum() / count,
            "loss_giou": (1 - torch.diag(giou)).sum() / count,
            "cardinality_error": F.l1_loss(found, objects.float()),
        }

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum that is minimised."""
        weights = {"loss_ce": 1.0, "loss_bbox": self.args.bbox_loss_coef, "loss_giou": self.args.giou_loss_coef}
        known = {name: value for name, value in losses.items() if name.startswith("loss_")}
        return torch.stack([value * weights["_".join(name.split("_")[:2])] for name, value in known.items()]).sum()
