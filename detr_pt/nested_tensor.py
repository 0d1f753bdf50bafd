"""A batch of images of unequal size: padded pixels and the mask that tells which are padding."""

from collections.abc import Sequence

import torch
from torch import Tensor


class NestedTensor:
    """Images padded to a common size.

    Attributes:
        tensors: [B, C, H, W], zero where padded.
        mask: bool [B, H, W], True where padded.
    """

    def __init__(self, tensors: Tensor, mask: Tensor) -> None:
        self.tensors = tensors
        self.mask = mask

    def decompose(self) -> tuple[Tensor, Tensor]:
        """Return ``(tensors, mask)``."""
        return self.tensors, self.mask


def nested_tensor_from_tensor_list(images: Sequence[Tensor]) -> NestedTensor:
    """Pad images [C, H_i, W_i] at the right and at the bottom to the largest height and width.

    Raises:
        ValueError: no image, or one that is not three-dimensional.
    """
    if len(images) == 0 or any(image.ndim != 3 for image in images):
        raise ValueError(f"a batch is one or more [C, H, W] images, not {[tuple(image.shape) for image in images]}")
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    tensors = images[0].new_zeros((len(images), images[0].shape[0], height, width))
    mask = torch.ones((len(images), height, width), dtype=torch.bool, device=tensors.device)
    for i, image in enumerate(images):
        tensors[i, :, : image.shape[1], : image.shape[2]] = image
        mask[i, : image.shape[1], : image.shape[2]] = False
    return NestedTensor(tensors, mask)


def as_nested_tensor(samples: NestedTensor | Tensor | Sequence[Tensor]) -> NestedTensor:
    """Make a batch of a list of [C, H, W] images or of a [B, C, H, W] tensor; a batch is returned as it is."""
    if isinstance(samples, NestedTensor):
        return samples
    return nested_tensor_from_tensor_list(list(samples))
