"""The layers that the two frameworks do not share; Jittor's own would differ from PyTorch's as each comment says."""

from itertools import pairwise
from typing import Any

import jittor as jt
import numpy as np
from jittor import Var, nn

from detr_jt import kernels
from detr_jt.convolution import Conv2d as Conv2d
from detr_jt.kernels import product


def constant(value: float, like: Var) -> float | Var:
    """Return a number that keeps its digits beside ``like``.

    Jittor rounds a Python float to float32 even where it meets a float64 Var.
    """
    return value if like.dtype == "float32" else jt.array(np.array([value]), dtype=str(like.dtype))


def absolute(x: Var) -> Var:
    """Return the absolute value; its gradient at 0 is 0, where Jittor's own has 1."""
    return x * ((x > 0).cast(str(x.dtype)) - (x < 0).cast(str(x.dtype))).detach()


def maximum(x: Var, y: Var) -> Var:
    """Return the larger values; equal ones share the gradient, which Jittor's own gives to ``y``."""
    share = _share(x > y, x == y, x)
    return x * share + y * (1 - share)


def minimum(x: Var, y: Var) -> Var:
    """Return the smaller values; equal ones share the gradient, which Jittor's own gives to ``y``."""
    share = _share(x < y, x == y, x)
    return x * share + y * (1 - share)


def _share(chosen: Var, equal: Var, like: Var) -> Var:
    """Return 1 where chosen, 0.5 where equal and 0 elsewhere, without gradient."""
    return (chosen.cast(str(like.dtype)) + 0.5 * equal.cast(str(like.dtype))).detach()


def frozen(x: Var, module: nn.Module) -> bool:
    """Return whether neither input nor weights take a gradient, for which Jittor would keep every map all the same."""
    return x.is_stop_grad() and all(weight.is_stop_grad() for weight in module.parameters())


def linear(x: Var, weight: Var, bias: Var | None) -> Var:
    """Map [..., in_features] by weight [out_features, in_features] and bias to [..., out_features].

    oneDNN serves float32 only, as for convolutions.
    """
    if x.dtype != "float64":
        return nn.linear(x, weight, bias)
    y = product(x.reshape(-1, x.shape[-1]), weight, transposed=True).reshape(*x.shape[:-1], weight.shape[0])
    return y if bias is None else y + bias


class Linear(nn.Linear):
    """A linear layer; see ``linear``.

    Args:
        in_features: size of the last axis of the input.
        out_features: of the output.
    """

    def execute(self, x: Var) -> Var:
        """Map [..., in_features] to [..., out_features]."""
        return linear(x, self.weight, self.bias)


class ExactLinear(nn.Linear):
    """A linear layer whose bias has a gradient as exact as PyTorch's.

    Jittor's own adds it up one value after another; where most have one sign, as those of "no object" have, it is off
    by thirty times what PyTorch is. Here it is added in float64.

    Args:
        in_features: size of the last axis of the input.
        out_features: of the output.
    """

    def execute(self, x: Var) -> Var:
        """Map [..., in_features] to [..., out_features]."""
        y = linear(x, self.weight, None)
        return y + self.bias.float64().broadcast(y).cast(str(y.dtype))


class Dropout(nn.Module):
    """Dropout that is on in training from the start; Jittor's own is off until ``train()`` is called.

    Args:
        p: probability with which a value is dropped.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def execute(self, x: Var) -> Var:
        """Drop values of ``x`` and scale up the others, in training; return ``x`` otherwise."""
        if self.p == 0 or not self.is_training():
            return x
        keep, scale = self.keep(x), 1 / (1 - self.p)
        if kernels.ours(x):
            return kernels.masked(x, keep, scale)
        return x * keep.cast(str(x.dtype)) * constant(scale, x)

    def keep(self, x: Var) -> Var:
        """Draw what is kept of ``x``, a bool of its shape."""
        return kernels.draw(x.shape, self.p) if kernels.ours(x) else jt.rand(x.shape) >= self.p


class ReLU(nn.ReLU):
    """A ReLU that keeps its output for the gradient; in the backbone Jittor joins its own with the norm."""

    def execute(self, x: Var) -> Var:
        """Map values of any shape."""
        return kernels.relu(x) if kernels.ours(x) else super().execute(x)


class LayerNorm(nn.Module):
    """Layer normalisation (Ba et al. 2016) over the last axis.

    The variance is taken of the centred values; Jittor's own takes E[x^2] - E[x]^2, which loses digits when the mean
    is large, and rounds eps to float32.

    Args:
        normalized_shape: size of the last axis.
    """

    def __init__(self, normalized_shape: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.weight = jt.ones((normalized_shape,))
        self.bias = jt.zeros((normalized_shape,))

    def execute(self, x: Var) -> Var:
        """Normalise [..., E]."""
        centred = x - mean(x)
        # Twice, since Jittor's mean of large values is off by several roundings more than PyTorch's.
        centred = centred - mean(centred)
        variance = mean(centred * centred)
        return centred / (variance + constant(self.eps, x)).sqrt() * self.weight + self.bias


class GroupNorm(nn.Module):
    """Group normalisation (Wu and He 2018).

    Jittor's own takes E[x^2] - E[x]^2, as its layer normalisation does.

    Args:
        num_groups: into which channels are shared out.
        num_channels: C, a multiple of them.
    """

    def __init__(self, num_groups: int, num_channels: int) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.eps = 1e-5
        self.weight = jt.ones((num_channels,))
        self.bias = jt.zeros((num_channels,))

    def execute(self, x: Var) -> Var:
        """Normalise [B, C, H, W]."""
        groups = x.reshape(x.shape[0], self.num_groups, -1)
        centred = groups - mean(groups)
        centred = centred - mean(centred)
        variance = mean(centred * centred)
        y = (centred / (variance + constant(self.eps, x)).sqrt()).reshape(x.shape)
        return y * self.weight.reshape(1, -1, 1, 1) + self.bias.reshape(1, -1, 1, 1)


def mean(x: Var) -> Var:
    """Return the mean over the last axis; the gradient of Jittor's own has the number rounded to float32."""
    return x.sum(dim=-1, keepdims=True) / constant(float(x.shape[-1]), x)


class MaxPool2d(nn.Pool):
    """The pooling of the stem of a ResNet: 3x3, stride 2, padding 1 (He et al. 2015)."""

    def __init__(self) -> None:
        super().__init__(3, stride=2, padding=1, op="maximum")


class Absolute(nn.Module):
    """The absolute value: a module, as the three that follow, so that what it chooses can be looked at and imposed."""

    def execute(self, x: Var) -> Var:
        """Map values of any shape."""
        return absolute(x)


class Minimum(nn.Module):
    """The smaller of two values; equal ones share the gradient."""

    def execute(self, x: Var, y: Var) -> Var:
        """Map two arrays whose shapes broadcast."""
        return minimum(x, y)


class Maximum(nn.Module):
    """The larger of two values; equal ones share the gradient."""

    def execute(self, x: Var, y: Var) -> Var:
        """Map two arrays whose shapes broadcast."""
        return maximum(x, y)


class Clamp(nn.Module):
    """The values, of which negative ones become 0; 0 itself takes the gradient, as it does not in a ReLU."""

    def execute(self, x: Var) -> Var:
        """Map values of any shape."""
        return x.clamp(0)


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and fixed affine parameters (ResNet, He et al. 2015).

    All four vectors are buffers: they are saved and loaded, and no optimizer sees them. Jittor does not tell buffers
    from parameters, so what keeps them still is ``stop_grad``.

    Args:
        num_features: number of channels C.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.weight = jt.ones((num_features,)).stop_grad()
        self.bias = jt.zeros((num_features,)).stop_grad()
        self.running_mean = jt.zeros((num_features,)).stop_grad()
        self.running_var = jt.ones((num_features,)).stop_grad()
        self._folded: tuple[Any, ...] = ()

    def execute(self, x: Var) -> Var:
        """Normalise a map of shape [B, C, H, W]."""
        scale, shift = self.folded()
        return x * scale + shift

    def folded(self) -> tuple[Var, Var]:
        """Return what a map is multiplied by and what is added to it, [1, C, 1, 1] each.

        They are kept for the next pass: for every one of the fifty layers Jittor would else run two more kernels. Not
        where a buffer takes a gradient after all, nor on a GPU.
        """
        buffers = self.weight, self.bias, self.running_mean, self.running_var
        kept = not jt.flags.use_cuda and all(buffer.is_stop_grad() for buffer in buffers)
        # By what they hold, since they can be written to in place; of a GPU it would have to be waited for.
        made_of = (self.eps, *(buffer.data.tobytes() for buffer in buffers)) if kept else ()
        if kept and self._folded[:1] == (made_of,):
            return self._folded[1:]
        scale = self.weight / (self.running_var + constant(self.eps, self.running_var)).sqrt()
        shift = self.bias - self.running_mean * scale
        folded = scale.reshape(1, -1, 1, 1), shift.reshape(1, -1, 1, 1)
        # Of what could take a gradient and is kept, Jittor would keep all maps that were multiplied by it too.
        self._folded = (made_of, *(one.stop_grad() for one in folded)) if kept else ()
        return folded


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
        self.layers = nn.ModuleList([Linear(n, k) for n, k in pairwise(sizes)])
        self.relus = nn.ModuleList([ReLU() for _ in range(num_layers - 1)])

    def execute(self, x: Var) -> Var:
        """Map [..., input_dim] to [..., output_dim]."""
        for layer, relu in zip(self.layers, self.relus, strict=False):
            x = relu(layer(x))
        return self.layers[-1](x)
