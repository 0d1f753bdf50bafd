"""The losses of masks, on the queries that were matched (DETR, section 4.4)."""

from collections.abc import Sequence

import jittor as jt
from jittor import Var, nn

from detr_common.targets import check_masks
from detr_jt.layers import absolute, constant, maximum
from detr_jt.resize import resize_bilinear


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

    def execute(self, logits: Var, masks: Var) -> Var:
        """Map logits [N, H, W] and masks [N, H, W] of 0 and 1 to [N], means over pixels."""
        entropy = binary_cross_entropy(logits, masks)
        inside = logits.sigmoid()
        wrong = 1 - (inside * masks + (1 - inside) * (1 - masks))
        weight = constant(self.alpha, masks) * masks + constant(1 - self.alpha, masks) * (1 - masks)
        pixels = weight * entropy * wrong ** constant(self.gamma, wrong)
        return total_of(pixels) / constant(float(logits.shape[1] * logits.shape[2]), logits)


class DiceLoss(nn.Module):
    """One minus the overlap of masks beside their areas, both with one pixel more (Milletari et al. 2016)."""

    def execute(self, logits: Var, masks: Var) -> Var:
        """Map logits [N, H, W] and masks [N, H, W] of 0 and 1 to [N]."""
        inside = logits.sigmoid()
        overlap = total_of(inside * masks)
        areas = total_of(inside) + total_of(masks)
        return 1 - (2 * overlap + 1) / (areas + 1)


class MaskLoss(nn.Module):
    """Segmentation: focal and dice loss between the masks of matched queries and of their objects."""

    def __init__(self) -> None:
        super().__init__()
        self.focal = FocalLoss()
        self.dice = DiceLoss()

    def execute(self, logits: Var, masks: Sequence[Var], matched: tuple[Var, Var], num_boxes: float) -> dict[str, Var]:
        """Compare masks at the size of the padded targets.

        Args:
            logits: [B, Q, H', W'].
            masks: of the matched objects of each image, bool [n, H, W].
            matched: image and query of each of them, see ``matched_queries``.
            num_boxes: by which sums over objects are divided.

        Returns:
            ``loss_mask`` and ``loss_dice``.
        """
        there = padded(masks).cast(str(logits.dtype))
        found = resize_bilinear(logits[matched][:, None], there.shape[1:])[:, 0]
        losses = {"loss_mask": self.focal(found, there), "loss_dice": self.dice(found, there)}
        return {name: value.sum() / constant(num_boxes, value) for name, value in losses.items()}


def padded(masks: Sequence[Var]) -> Var:
    """Put masks of several images, bool [n, H, W] each, into one array of the largest sides, with zeros behind."""
    height, width = (max(mask.shape[axis] for mask in masks) for axis in (1, 2))
    shape = [sum(len(mask) for mask in masks), height, width]
    result, start = jt.zeros(shape, dtype="bool"), 0
    for mask in masks:
        if len(mask):
            result[start : start + len(mask), : mask.shape[1], : mask.shape[2]] = mask
            start += len(mask)
    return result


def checked_masks(targets: Sequence[dict[str, Var]]) -> list[Var]:
    """Return the masks of each target as bool, if they can be used.

    Raises:
        InputError: see ``detr_common.targets.check_masks``.
    """
    masks = [target.get("masks") for target in targets]
    check_masks([None if mask is None else tuple(mask.shape) for mask in masks], [len(t["labels"]) for t in targets])
    return [mask.bool() for mask in masks]


def binary_cross_entropy(logits: Var, masks: Var) -> Var:
    """Return the cross entropy of each pixel; Jittor's own returns only the mean, and is infinite for large logits."""
    small = (-absolute(logits)).exp()
    # log(1 + small) with all digits also where small is far below one.
    soft = 2 * (small / (2 + small)).atanh()
    return maximum(logits, jt.zeros_like(logits)) - logits * masks + soft


def total_of(x: Var) -> Var:
    """Sum [N, H, W] over pixels, in float64, since Jittor adds one value after another; [N]."""
    return x.float64().sum((1, 2)).cast(str(x.dtype))
