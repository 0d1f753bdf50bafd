"""The batch of photographs that a rung runs on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import fixtures
from detr_common.images import MIN_SIDE, load_photograph


def photograph_batch(paths: Sequence[Path], size: int) -> list[npt.NDArray[np.float32]]:
    """Load photographs as a batch in which padding matters.

    Args:
        paths: image files; none takes two of the project's own.
        size: pixels of the shorter side.

    Returns:
        float32 [3, H, W] each. Where all fill the same cells of the feature map, a narrower cut of the first is added.

    Raises:
        InputError: a file is not a readable photograph.
    """
    if not paths:
        return fixtures.batch(size)
    images = [load_photograph(path, size=size) for path in paths]
    if len({(-(-image.shape[1] // MIN_SIDE), -(-image.shape[2] // MIN_SIDE)) for image in images}) == 1:
        _, height, width = images[0].shape
        cut = max(MIN_SIDE, width * 3 // 4)
        images.append(np.ascontiguousarray(images[0][:, : max(MIN_SIDE, height * 7 // 8), :cut]))
    return images
