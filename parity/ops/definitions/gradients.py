"""Gradients where a function has a corner: those of the sum, weighted so that each element counts apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jittor as jt
import numpy as np
import torch
from torch import nn as pt_nn

from detr_jt import box_ops as jt_boxes
from detr_jt import layers as jt_layers
from detr_pt import box_ops as pt_boxes
from parity.ops.cases import alike, array, case, floats, sizes
from parity.ops.definitions.boxes import corners
from parity.ops.operation import Array, Operation

Function = Callable[..., Any]


def by_torch(function: Function) -> Function:
    """Return the function that gives the gradients of ``function`` with respect to all its arguments."""

    def differentiate(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for value in inputs:
            value.requires_grad_()
        y = function(*inputs)
        weight = torch.arange(1, y.numel() + 1).to(y.dtype).reshape(y.shape)
        gradients: tuple[torch.Tensor, ...] = torch.autograd.grad((y * weight).sum(), list(inputs))
        return gradients

    return differentiate


def by_jittor(function: Function) -> Function:
    """Return the same in Jittor."""

    def differentiate(*inputs: jt.Var) -> list[jt.Var]:
        y = function(*inputs)
        weight = jt.array(np.arange(1, y.numel() + 1).reshape(y.shape), dtype=str(y.dtype))
        return list(jt.grad((y * weight).sum(), list(inputs)))

    return differentiate


def _steepest(boxes1: Array, boxes2: Array) -> float:
    """Bound a term of the gradient of generalized IoU: one over the shortest side, times the weights."""
    sides = np.concatenate([boxes[:, 2:] - boxes[:, :2] for boxes in (boxes1, boxes2)])
    return len(boxes1) * len(boxes2) / float(sides[sides > 0].min(initial=1.0))


_one = case(x=array(sizes((2, 4), (2, 5)), floats()))
_two = alike(sizes((2, 4), (2, 5)), floats(), floats())

GRADIENTS = (
    Operation(
        "gradient absolute",
        _one,
        by_torch(torch.abs),
        by_jittor(jt_layers.absolute),
        by_jittor(jt.abs),
        "gradient-abs-zero",
    ),
    Operation(
        "gradient maximum",
        _two,
        by_torch(torch.maximum),
        by_jittor(jt_layers.maximum),
        by_jittor(jt.maximum),
        "gradient-maximum-tie",
    ),
    Operation(
        "gradient minimum",
        _two,
        by_torch(torch.minimum),
        by_jittor(jt_layers.minimum),
        by_jittor(jt.minimum),
        "gradient-maximum-tie",
    ),
    Operation(
        "gradient max over axis",
        case(x=array(sizes((2, 4), (2, 5)), floats())),
        by_torch(lambda x: x.max(0).values),
        by_jittor(lambda x: x[x.argmax(0)[0], jt.arange(x.shape[1])]),
        by_jittor(lambda x: x.max(0)),
        "gradient-max-tie",
    ),
    Operation(
        "gradient mean",
        case(x=array(sizes((1, 3), (1, 130)), floats())),
        by_torch(lambda x: x.mean(-1)),
        by_jittor(jt_layers.mean),
        by_jittor(lambda x: x.mean(-1)),
        "gradient-mean",
    ),
    Operation("gradient relu", _one, by_torch(torch.relu), by_jittor(jt.nn.relu)),
    Operation("gradient clamp", _one, by_torch(lambda x: x.clamp(0, 1)), by_jittor(lambda x: x.clamp(0, 1))),
    Operation("gradient sigmoid", _one, by_torch(torch.sigmoid), by_jittor(jt.sigmoid)),
    Operation(
        "gradient max pool",
        case(x=array(sizes((2, 3), (2, 3), (4, 7), (4, 7)), floats())),
        by_torch(pt_nn.MaxPool2d(3, 2, 1)),
        by_jittor(jt.nn.Pool(3, stride=2, padding=1, op="maximum")),
    ),
    Operation(
        "gradient generalized_box_iou",
        corners(2),
        by_torch(pt_boxes.generalized_box_iou),
        by_jittor(jt_boxes.generalized_box_iou),
        magnitude=_steepest,
    ),
)
