"""Boxes as (cx, cy, w, h) and as (x0, y0, x1, y1), and how far they overlap."""

from collections.abc import Callable

import torch
from torch import Tensor, maximum, minimum

from detr_common.targets import check_corners


def box_cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Turn centre and size into corners, [..., 4] to [..., 4]."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h), dim=-1)


def box_xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Turn corners into centre and size, [..., 4] to [..., 4]."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), dim=-1)


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compare every box of one set with every box of another (generalized IoU, Rezatofighi et al. 2019).

    Where a quotient of areas is 0 / 0 it counts as 0: two boxes without area have IoU 0, and a hull without area
    takes nothing off.

    Args:
        boxes1: [N, 4] as (x0, y0, x1, y1).
        boxes2: [M, 4] as (x0, y0, x1, y1).

    Returns:
        [N, M], from -1 to 1.

    Raises:
        InputError: a box is NaN or has x1 < x0 or y1 < y0.
    """
    check_corners(boxes1.detach().cpu().numpy(), "boxes1")
    check_corners(boxes2.detach().cpu().numpy(), "boxes2")
    return paired_generalized_box_iou(boxes1[:, None], boxes2[None])


def not_negative(x: Tensor) -> Tensor:
    """Return values, of which negative ones become 0."""
    return x.clamp(min=0)


def paired_generalized_box_iou(
    boxes1: Tensor,
    boxes2: Tensor,
    smaller: Callable[..., Tensor] = minimum,
    larger: Callable[..., Tensor] = maximum,
    clamp: Callable[..., Tensor] = not_negative,
) -> Tensor:
    """Compare each box with its partner: the diagonal of ``generalized_box_iou``, from boxes known to be in order.

    Args:
        boxes1: [..., 4] as (x0, y0, x1, y1), x1 >= x0 and y1 >= y0.
        boxes2: likewise, of a shape that broadcasts with it.
        smaller: takes the smaller values of two arrays.
        larger: the larger ones.
        clamp: makes negative values 0.

    Returns:
        [...], from -1 to 1.
    """
    overlap = smaller(boxes1[..., 2:], boxes2[..., 2:]) - larger(boxes1[..., :2], boxes2[..., :2])
    hull = larger(boxes1[..., 2:], boxes2[..., 2:]) - smaller(boxes1[..., :2], boxes2[..., :2])
    intersection, enclosing = product(clamp(overlap)), product(clamp(hull))
    union = product(boxes1[..., 2:] - boxes1[..., :2]) + product(boxes2[..., 2:] - boxes2[..., :2]) - intersection
    return ratio(intersection, union) - ratio(enclosing - union, enclosing)


def product(sides: Tensor) -> Tensor:
    """Multiply width and height, [..., 2] to [...]."""
    return sides[..., 0] * sides[..., 1]


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide areas; where the denominator is not above 0 the quotient and its gradient are 0."""
    positive = denominator > 0
    quotient = numerator / denominator.where(positive, torch.ones_like(denominator))
    return quotient.where(positive, torch.zeros_like(quotient))
