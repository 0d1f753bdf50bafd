"""DETR in Jittor; detr_pt is its mirror image in PyTorch."""

from detr_common import jittor_convolution, jittor_headers
from detr_common.jittor_ready import preserving_random_state, ready

ready()  # before the first import of Jittor, which reads what this decides
with preserving_random_state():  # which that import would reseed
    import jittor

    # Before the first kernel is compiled.
    jittor_headers.use(jittor)
    jittor_convolution.use(jittor)

    from detr_jt.checkpoint import load_weights
    from detr_jt.criterion import SetCriterion, total_loss
    from detr_jt.detr import DETR, build_model
    from detr_jt.matcher import HungarianMatcher
    from detr_jt.nested_tensor import NestedTensor, nested_tensor_from_tensor_list
    from detr_jt.optimizer import (
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
