"""Versions and flags of PyTorch, its precision on a GPU, and weights moved by one ulp."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

_DRAWING = ("uniform_", "normal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_")


def environment() -> dict[str, str]:
    """Return versions and flags."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": str(torch.get_num_threads()),
        "mkldnn": str(torch.backends.mkldnn.is_available()),
        "cuda": str(torch.cuda.is_available()),
    }


def full_precision() -> None:
    """Let a GPU compute in full float32, as Jittor does, and the same way every time."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Some backward passes of DETR have no deterministic form on a GPU; they warn.
    torch.use_deterministic_algorithms(True, warn_only=True)


def move_by_one_ulp(model: nn.Module, seed: int) -> None:
    """Move every weight to a neighbouring number, up or down by a seeded coin."""
    coin = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            up = torch.rand(weight.shape, generator=coin) < 0.5
            towards = torch.where(up, torch.inf, -torch.inf).to(weight)
            weight.copy_(torch.nextafter(weight, towards))


@contextmanager
def without_drawing() -> Iterator[None]:
    """Build a model in this block whose weights are all loaded afterwards; until then they are what was in memory.

    Drawing them is most of the time of building: 0.3 s for DETR with ResNet-50. Jittor draws none that nobody reads.
    """

    def left(tensor: Any, *_: Any, **__: Any) -> Any:
        return tensor

    drawing = {name: getattr(nn.init, name) for name in _DRAWING}
    try:
        for name in drawing:
            setattr(nn.init, name, left)
        yield
    finally:
        for name, function in drawing.items():
            setattr(nn.init, name, function)
