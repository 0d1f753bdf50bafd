"""Maps of another size, as ``torch.nn.functional.interpolate`` makes them."""

from collections.abc import Sequence

import jittor as jt
import numpy as np
from jittor import Var

from detr_common.images import nearest


def resize_nearest(x: Var, size: Sequence[int]) -> Var:
    """Resize maps [B, C, H, W] to (H', W') by nearest neighbours.

    Jittor's interpolation is bilinear unless told otherwise, and cannot make a map of one cell.
    """
    rows, columns = (nearest(n, k) for n, k in zip(x.shape[2:], size, strict=True))
    return x[:, :, rows][:, :, :, columns]


def resize_bilinear(x: Var, size: Sequence[int]) -> Var:
    """Resize maps [B, C, H, W] to (H', W') between the centres of four pixels; those at the border count on.

    Jittor's own rounds the places to float32 and is compiled anew for every size.
    """
    rows, columns = (between(n, k, x) for n, k in zip(x.shape[2:], size, strict=True))
    upper, lower = (x[:, :, row] for row in rows[:2])
    upper, lower = (y[:, :, :, columns[0]] * columns[2] + y[:, :, :, columns[1]] * columns[3] for y in (upper, lower))
    return upper * rows[2].reshape(-1, 1) + lower * rows[3].reshape(-1, 1)


def between(size_in: int, size_out: int, like: Var) -> tuple[np.ndarray, np.ndarray, Var, Var]:
    """Return for each of ``size_out`` cells the two cells that it lies between, int32, and the part of each."""
    number = np.dtype(str(like.dtype)).type
    step = number(size_in) / number(size_out)
    places = ((np.arange(size_out, dtype=number) + number(0.5)) * step - number(0.5)).clip(0)
    first = places.astype(np.int32)
    part = places - first
    parts = (jt.array(values, dtype=str(like.dtype)) for values in (1 - part, part))
    return first, np.minimum(first + 1, size_in - 1), *parts
