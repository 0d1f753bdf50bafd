"""DETR in PyTorch; detr_jt is its mirror image in Jittor."""

from detr_pt.checkpoint import load_weights
from detr_pt.criterion import SetCriterion, total_loss
from detr_pt.detr import DETR, build_model
from detr_pt.matcher import HungarianMatcher
from detr_pt.nested_tensor import NestedTensor, nested_tensor_from_tensor_list
from detr_pt.optimizer import (
    backward,
    build_optimizer,
    build_scheduler,
    clip_grad_norm,
    drop_gradients,
    gradients,
    moments,
    set_gradients,
)

__all__ = [
    "DETR",
    "HungarianMatcher",
    "NestedTensor",
    "SetCriterion",
    "backward",
    "build_model",
    "build_optimizer",
    "build_scheduler",
    "clip_grad_norm",
    "drop_gradients",
    "gradients",
    "load_weights",
    "moments",
    "nested_tensor_from_tensor_list",
    "set_gradients",
    "total_loss",
]
