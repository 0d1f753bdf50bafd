"""The layers that the two frameworks do not share; PyTorch has them all, detr_jt writes them out."""

from itertools import pairwise

import torch
from torch import Tensor, nn

Conv2d = nn.Conv2d
Dropout = nn.Dropout
GroupNorm = nn.GroupNorm
LayerNorm = nn.LayerNorm
Linear = ExactLinear = nn.Linear


class Absolute(nn.Module):
    """The absolute value: a module, as the three that follow, so that what it chooses can be looked at and imposed."""

    def forward(self, x: Tensor) -> Tensor:
        """Map values of any shape."""
        return x.abs()


class Minimum(nn.Module):
    """The smaller of two values; equal ones share the gradient."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map two arrays whose shapes broadcast."""
        return torch.minimum(x, y)


class Maximum(nn.Module):
    """The larger of two values; equal ones share the gradient."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map two arrays whose shapes broadcast."""
        return torch.maximum(x, y)


class Clamp(nn.Module):
    """The values, of which negative ones become 0; 0 itself takes the gradient, as it does not in a ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map values of any shape."""
        return x.clamp(min=0)


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and fixed affine parameters (ResNet, He et al. 2015).

    All four vectors are buffers: they are saved and loaded, and no optimizer sees them.

    Args:
        num_features: number of channels C.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a map of shape [B, C, H, W]."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class MLP(nn.Module):
    """Linear layers with a ReLU between them (DETR, section 3.2, the box head).

    Args:
        input_dim: size of the last axis of the input.
        hidden_dim: size between the layers.
        output_dim: size of the last axis of the output.
        num_layers: number of linear layers.
    """

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        sizes = [input_dim] + [hidden_dim] * (num_layers - 1) + [output_dim]
        self.layers = nn.ModuleList(Linear(n, k) for n, k in pairwise(sizes))
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(num_layers - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., input_dim] to [..., output_dim]."""
        for layer, relu in zip(self.layers, self.relus, strict=False):
            x = relu(layer(x))
        return self.layers[-1](x)
