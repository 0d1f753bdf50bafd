"""DETR in PyTorch; detr_jt is its mirror image in Jittor."""

from detr_pt.checkpoint import load_weights
from detr_pt.criterion import SetCriterion, total_loss
from detr_pt.detr import DETR, build_model
from detr_pt.matcher import HungarianMatcher
from detr_pt.nested_tensor import NestedTensor, nested_tensor_from_tensor_list

__all__ = [
    "DETR",
    "HungarianMatcher",
    "NestedTensor",
    "SetCriterion",
    "build_model",
    "load_weights",
    "nested_tensor_from_tensor_list",
    "total_loss",
]
