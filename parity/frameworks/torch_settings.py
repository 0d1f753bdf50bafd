"""Versions and flags of PyTorch, its precision on a GPU, and weights moved by one ulp."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import nn


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
