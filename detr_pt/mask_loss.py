"""The losses of masks, on the queries that were matched (DETR, section 4.4)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detr_common.targets import check_masks
from detr_pt.resize import resize_bilinear


class FocalLoss(nn.Module):
    """Cross entropy of pixels in which those that are told well count less (Lin et al. 2017).

    Args:
        alpha: weight of the pixels inside; the others have 1 - alpha.
        gamma: power of the part that is told wrong.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Map logits [N, H, W] and masks [N, H, W] of 0 and 1 to [N], means over pixels."""
        entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
        inside = logits.sigmoid()
        wrong = 1 - (inside * masks + (1 - inside) * (1 - masks))
        weight = self.alpha * masks + (1 - self.alpha) * (1 - masks)
        return (weight * entropy * wrong**self.gamma).mean((1, 2))


class DiceLoss(nn.Module):
    """One minus the overlap of masks beside their areas, both with one pixel more (Milletari et al. 2016)."""

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Map logits [N, H, W] and masks [N, H, W] of 0 and 1 to [N]."""
        inside = logits.sigmoid()
        overlap = (inside * masks).sum((1, 2))
        areas = inside.sum((1, 2)) + masks.sum((1, 2))
        return 1 - (2 * overlap + 1) / (areas + 1)


class MaskLoss(nn.Module):
    """Segmentation: focal and dice loss between the masks of matched queries and of their objects."""

    def __init__(self) -> None:
        super().__init__()
        self.focal = FocalLoss()
        self.dice = DiceLoss()

    def forward(
        self, logits: Tensor, masks: Sequence[Tensor], matched: tuple[Tensor, Tensor], num_boxes: float
    ) -> dict[str, Tensor]:
        """Compare masks at the size of the padded targets.

        Args:
            logits: [B, Q, H', W'].
            masks: of the matched objects of each image, bool [n, H, W].
            matched: image and query of each of them, see ``matched_queries``.
            num_boxes: by which sums over objects are divided.

        Returns:
            ``loss_mask`` and ``loss_dice``.
        """
        there = padded(masks).to(logits.dtype)
        found = resize_bilinear(logits[matched][:, None], there.shape[1:])[:, 0]
        losses = {"loss_mask": self.focal(found, there), "loss_dice": self.dice(found, there)}
        return {name: value.sum() / num_boxes for name, value in losses.items()}


def padded(masks: Sequence[Tensor]) -> Tensor:
    """Put masks of several images, bool [n, H, W] each, into one array of the largest sides, with zeros behind."""
    height, width = (max(mask.shape[axis] for mask in masks) for axis in (1, 2))
    return torch.cat([F.pad(mask, (0, width - mask.shape[2], 0, height - mask.shape[1])) for mask in masks])


def checked_masks(targets: Sequence[dict[str, Tensor]]) -> list[Tensor]:
    """Return the masks of each target as bool, if they can be used.

    Raises:
        InputError: see ``detr_common.targets.check_masks``.
    """
    masks = [target.get("masks") for target in targets]
    check_masks([None if mask is None else tuple(mask.shape) for mask in masks], [len(t["labels"]) for t in targets])
    return [mask.bool() for mask in masks]
