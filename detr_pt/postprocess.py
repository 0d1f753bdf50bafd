"""Predictions to detections in pixels."""

import torch
from torch import Tensor, nn

from detr_pt.box_ops import box_cxcywh_to_xyxy


class PostProcess(nn.Module):
    """One detection a query: its best class that is not "no object", and its box in pixels."""

    def forward(self, outputs: dict[str, Tensor], target_sizes: Tensor) -> list[dict[str, Tensor]]:
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
        if tuple(target_sizes.shape) != (len(logits), 2):
            raise ValueError(
                f"{len(logits)} images need target_sizes [{len(logits)}, 2], not {list(target_sizes.shape)}"
            )
        with torch.no_grad():
            scores, labels = logits.softmax(-1)[..., :-1].max(-1)
            height, width = target_sizes.to(boxes.dtype).unbind(1)
            boxes = box_cxcywh_to_xyxy(boxes) * torch.stack([width, height, width, height], dim=1)[:, None, :]
            results = zip(scores, labels, boxes, strict=True)
            return [{"scores": s, "labels": k, "boxes": b} for s, k, b in results]
