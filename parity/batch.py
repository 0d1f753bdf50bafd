"""The batch of photographs that a rung runs on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import fixtures
from detr_common.images import MIN_SIDE, Size, load_photograph
from parity.frameworks.base import Batch

# Pixels of the image for a cell of the feature map.
STRIDE = 32
# Padded pixels of a batch from which on workers take turns. With as many, gradients of DETR-R50 in float64 take 4 GB in
# each framework, and all runs at once several times as much.
LARGE = 2**19


def is_large(images: Sequence[npt.NDArray[np.float32]]) -> bool:
    """Return whether a batch of [3, H, W] images is too large for all workers to compute at once."""
    height, width = (max((image.shape[axis] for image in images), default=0) for axis in (1, 2))
    return len(images) * height * width >= LARGE


def mirrored(batch: Batch) -> Batch:
    """Return a batch with every image, its boxes and masks flipped from left to right."""
    boxes = [np.concatenate([1 - b[:, :1], b[:, 1:]], axis=1) for b in batch.boxes]
    images, masks = ([np.ascontiguousarray(one[:, :, ::-1]) for one in part] for part in (batch.images, batch.masks))
    return Batch(images, batch.labels, boxes, masks)


def photograph_batch(paths: Sequence[Path], size: Size) -> list[npt.NDArray[np.float32]]:
    """Load photographs as a batch in which padding matters.

    Args:
        paths: image files; none takes two of the project's own.
        size: pixels of the shorter side, or height and width of the frame that each fits into.

    Returns:
        float32 [3, H, W] each. Where none is so much smaller that the feature map has padding, a cut of the first is
        added.

    Raises:
        InputError: a file is not a readable photograph.
    """
    if not paths:
        return fixtures.batch(size)
    images = [load_photograph(path, size=size) for path in paths]
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    rows, columns = _last_cell(height), _last_cell(width)
    if not any(image.shape[1] <= rows or image.shape[2] <= columns for image in images):
        first = images[0]
        cut = first[:, : max(MIN_SIDE, min(height * 7 // 8, rows)), : max(MIN_SIDE, min(width * 3 // 4, columns))]
        images.append(np.ascontiguousarray(cut))
    return images


def _last_cell(length: int) -> int:
    """Return the pixel whose mask the last cell of the feature map takes; an image that ends there is padded."""
    cells = -(-length // STRIDE)
    return (cells - 1) * length // cells
