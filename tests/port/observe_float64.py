"""Prints the float64 errors of Jittor's functions against PyTorch's, forward and backward, as JSON.

With "plain" as an argument without what the harness does for float64.
"""

import json
import sys

import numpy as np
import torch
from torch.nn import functional as F

from parity.frameworks.jittor_float64 import float64_numbers

# isort: split
import jittor as jt
from jittor import nn

X = np.random.default_rng(0).standard_normal((2, 3, 6, 6))
CASES = {
    "number": (lambda a: a * 0.3 - 0.1, lambda a: a * 0.3 - 0.1),
    "number first": (lambda a: 0.7 / (a * a + 0.1), lambda a: 0.7 / (a * a + 0.1)),
    "power": (lambda a: (a * a + 1) ** 0.3, lambda a: (a * a + 1) ** 0.3),
    "mean": (lambda a: a.mean((2, 3)), lambda a: a.mean((2, 3))),
    "erf": (torch.erf, lambda a: a.erf()),
    "gelu": (F.gelu, nn.gelu),
    "average pooling": (lambda a: F.avg_pool2d(a, 3), lambda a: nn.avg_pool2d(a, 3)),
    "interpolate": (
        lambda a: F.interpolate(a, size=(9, 13), mode="bilinear", align_corners=False),
        lambda a: nn.interpolate(a, size=(9, 13), mode="bilinear", align_corners=False),
    ),
    "layer norm": (lambda a: F.layer_norm(a, (6,)), lambda a: nn.LayerNorm(6, elementwise_affine=False)(a)),
    "mean squared error": (lambda a: F.mse_loss(a, a.detach() * 0.3).reshape(1),
                           lambda a: nn.mse_loss(a, a.detach() * 0.3).reshape(1)),
    "clamp": (lambda a: a.clamp(-0.3, 0.7), lambda a: a.clamp(-0.3, 0.7)),
    "range": (lambda a: a * torch.linspace(0, 1, 6, dtype=a.dtype), lambda a: a * jt.linspace(0, 1, 6)),
    "integers": (lambda a: a * (torch.arange(6) * 0.1), lambda a: a * (jt.index((6,), 0) * 0.1)),
}  # fmt: skip


def errors(reference, port) -> list[float]:
    """Return the largest errors of output and gradient as fractions of their scale."""
    a = torch.tensor(X, requires_grad=True)
    out = reference(a)
    drawn = np.random.default_rng(1).standard_normal(tuple(out.shape))
    (out * torch.tensor(drawn)).sum().backward()
    b = jt.array(X, dtype="float64")
    own = port(b)
    gradient = jt.grad((own * jt.array(drawn, dtype="float64")).sum(), b).numpy()
    pairs = ((own.numpy(), out.detach().numpy()), (gradient, a.grad.numpy()))
    return [float(np.abs(one - other).max() / np.abs(other).max()) for one, other in pairs]


torch.set_default_dtype(torch.float64)
with jt.flag_scope(auto_convert_64_to_32=0), float64_numbers("plain" not in sys.argv):
    found = {name: errors(*case) for name, case in CASES.items()}
# Beside float32 nothing changes: a number is rounded as Jittor rounds it.
with float64_numbers(True):
    narrow = str((jt.array(X.astype(np.float32)) * 0.3).dtype)
print(json.dumps({"errors": found, "narrow": narrow}))
