"""Boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from detr_jt import box_ops as jt_boxes
from detr_pt import box_ops as pt_boxes
from parity.ops.cases import LARGE, TINY, array, case, floats
from parity.ops.operation import Array, Case, Operation


def largest(**arrays: Array) -> float:
    """Return the largest absolute value of all arrays."""
    return max(float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in arrays.values())


@st.composite
def corners(draw: st.DrawFn, lowest: int = 0) -> Case:
    """Generate two sets of boxes; a side may be 0, boxes may be equal, and the first set may be empty.

    Corners lie on a grid of 64, on which areas are exact, so that a degenerate box is degenerate on both sides.
    """
    boxes = {}
    for name, counts in (("boxes1", range(lowest, 6)), ("boxes2", (2, 4))):
        count = draw(st.sampled_from(counts))
        grid = draw(array((count, 4), st.integers(0, 64), "int64"))
        low, side = grid[:, :2], np.minimum(grid[:, 2:], 64 - grid[:, :2])
        boxes[name] = (np.concatenate([low, low + side], 1) / 64).astype(np.float32)
    return Case(boxes)


_any_boxes = case(boxes=array(st.tuples(st.integers(0, 6), st.just(4)), floats(*LARGE, *TINY)))

BOXES = (
    Operation(
        "box_cxcywh_to_xyxy", _any_boxes, pt_boxes.box_cxcywh_to_xyxy, jt_boxes.box_cxcywh_to_xyxy, magnitude=largest
    ),
    Operation(
        "box_xyxy_to_cxcywh", _any_boxes, pt_boxes.box_xyxy_to_cxcywh, jt_boxes.box_xyxy_to_cxcywh, magnitude=largest
    ),
    Operation("generalized_box_iou", corners(), pt_boxes.generalized_box_iou, jt_boxes.generalized_box_iou),
)
