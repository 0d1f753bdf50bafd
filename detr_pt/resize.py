"""Maps of another size, as ``torch.nn.functional.interpolate`` makes them."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def resize_nearest(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps [B, C, H, W] to (H', W') by nearest neighbours."""
    return F.interpolate(x, size=tuple(size), mode="nearest")


def resize_bilinear(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps [B, C, H, W] to (H', W') between the centres of four pixels; those at the border count on."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
