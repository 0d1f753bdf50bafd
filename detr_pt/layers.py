"""The layers that the two frameworks do not share; PyTorch has them all, detr_jt writes them out."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

Conv2d = nn.Conv2d
GroupNorm = nn.GroupNorm
LayerNorm = nn.LayerNorm
Linear = ExactLinear = nn.Linear
ReLU = nn.ReLU


class Dropout(nn.Dropout):
    """Dropout that draws its masks on a CPU in a sixth of the time; elsewhere it is PyTorch's own.

    So it is with a probability that is within 2^-16 of 0 or 1.

    Args:
        p: probability with which a value is dropped.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop values of ``x`` and scale up the others, in training; return ``x`` otherwise."""
        if not self.training or x.device.type != "cpu" or not 2**-16 <= self.p <= 1 - 2**-16:
            return super().forward(x)
        return Masked.apply(x, self.keep(x), 1 / (1 - self.p))

    def keep(self, x: Tensor) -> Tensor:
        """Draw what is kept of ``x``, a bool of its shape, by PyTorch's own generator.

        Of each number of 64 bits that it draws, PyTorch's dropout uses one for a value, and here there are four values
        of 16 bits. The last number says to which of its two neighbours of 16 bits the bound is rounded, up as often as
        it takes for each value to be dropped with probability ``p``.
        """
        bits = torch.empty(x.numel() // 4 + 2, dtype=torch.int64).random_(-(2**63), None)
        bound, rest = divmod(round(self.p * 2**32), 2**16)
        bound += int(bits[-1]) % 2**16 < rest
        # By NumPy, which takes a fifth of PyTorch's time for it.
        return torch.from_numpy(bits.view(torch.int16).numpy()[: x.numel()] >= bound - 2**15).view(x.shape)


class Masked(torch.autograd.Function):
    """``x * keep * scale`` for a bool ``keep``, of which the gradient needs no more than ``keep``."""

    @staticmethod
    def forward(context: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        """Mask and scale values of any shape."""
        context.save_for_backward(keep)
        context.scale = scale
        return Masked.factors(keep, scale, x).mul_(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Mask and scale the gradient likewise."""
        (keep,) = context.saved_tensors
        return Masked.factors(keep, context.scale, gradient).mul_(gradient), None, None

    @staticmethod
    def factors(keep: Tensor, scale: float, x: Tensor) -> Tensor:
        """Return by what each value is multiplied; PyTorch takes longer to multiply with a bool, or to convert one."""
        return keep.view(torch.uint8).to(x.dtype).mul_(scale)


class MaxPool2d(nn.MaxPool2d):
    """The pooling of the stem of a ResNet: 3x3, stride 2, padding 1 (He et al. 2015).

    Where no gradient is wanted, as in a frozen stem, rows and then columns are compared as whole arrays, which on a CPU
    takes a quarter of the time.
    """

    def __init__(self) -> None:
        super().__init__(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, ceil(H / 2), ceil(W / 2)]."""
        if x.device.type != "cpu" or (x.requires_grad and torch.is_grad_enabled()):
            return super().forward(x)
        return self.largest(self.largest(x, 2), 3)

    def largest(self, x: Tensor, axis: int) -> Tensor:
        """Return the largest of three neighbours along an axis, for each with an even place."""
        places = [slice(None)] * x.ndim
        places[axis] = slice(0, None, 2)
        largest = x[tuple(places)].clone(memory_format=torch.contiguous_format)
        places[axis] = slice(1, None, 2)
        odd = x[tuple(places)]
        count, after = odd.shape[axis], largest.shape[axis] - 1
        torch.maximum(largest.narrow(axis, 0, count), odd, out=largest.narrow(axis, 0, count))
        torch.maximum(largest.narrow(axis, 1, after), odd.narrow(axis, 0, after), out=largest.narrow(axis, 1, after))
        return largest


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
        scale, shift = self.folded()
        # In place, since the gradient needs neither the product nor the sum.
        return (x * scale).add_(shift)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return what a map is multiplied by and what is added to it, [1, C, 1, 1] each."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return scale.reshape(1, -1, 1, 1), shift.reshape(1, -1, 1, 1)


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
        self.relus = nn.ModuleList(ReLU() for _ in range(num_layers - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., input_dim] to [..., output_dim]."""
        for layer, relu in zip(self.layers, self.relus, strict=False):
            x = relu(layer(x))
        return self.layers[-1](x)
