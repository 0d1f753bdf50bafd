"""DETR in Jittor; detr_pt is its mirror image in PyTorch."""

from detr_common.jittor_ready import ready

ready()  # before the first import of Jittor, which reads what this decides

from detr_jt.checkpoint import load_weights  # noqa: E402
from detr_jt.detr import DETR, build_model  # noqa: E402
from detr_jt.nested_tensor import NestedTensor, nested_tensor_from_tensor_list  # noqa: E402

__all__ = ["DETR", "NestedTensor", "build_model", "load_weights", "nested_tensor_from_tensor_list"]
