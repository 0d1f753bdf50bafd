"""Boxes as (cx, cy, w, h) and as (x0, y0, x1, y1), and how far they overlap."""

from collections.abc import Callable

import jittor as jt
from jittor import Var

from detr_common.targets import check_corners
from detr_jt.layers import maximum, minimum


def box_cxcywh_to_xyxy(boxes: Var) -> Var:
    """Turn centre and size into corners, [..., 4] to [..., 4]."""
    cx, cy, w, h = boxes.unbind(-1)
    return jt.stack((cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h), dim=-1)


def box_xyxy_to_cxcywh(boxes: Var) -> Var:
    """Turn corners into centre and size, [..., 4] to [..., 4]."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return jt.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), dim=-1)


def generalized_box_iou(boxes1: Var, boxes2: Var) -> Var:
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
    check_corners(boxes1.numpy(), "boxes1")
    check_corners(boxes2.numpy(), "boxes2")
    return paired_generalized_box_iou(boxes1[:, None], boxes2[None])


def not_negative(x: Var) -> Var:
    """Return values, of which negative ones become 0."""
    return x.clamp(0)


def paired_generalized_box_iou(
    boxes1: Var,
    boxes2: Var,
    smaller: Callable[..., Var] = minimum,
    larger: Callable[..., Var] = maximum,
    clamp: Callable[..., Var] = not_negative,
) -> Var:
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


def product(sides: Var) -> Var:
    """Multiply width and height, [..., 2] to [...]."""
    return sides[..., 0] * sides[..., 1]


def ratio(numerator: Var, denominator: Var) -> Var:
    """Divide areas; where the denominator is not above 0 the quotient and its gradient are 0."""
    positive = denominator > 0
    quotient = numerator / jt.where(positive, denominator, jt.ones_like(denominator))
    return jt.where(positive, quotient, jt.zeros_like(quotient))
