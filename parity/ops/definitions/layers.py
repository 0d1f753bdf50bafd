"""Layers: attention, norms, convolution, pooling, interpolation."""

from __future__ import annotations

from typing import Any

import jittor as jt
import numpy as np
import torch
from hypothesis import strategies as st
from torch.nn import functional as pt_f

import detr_jt.attention
import detr_jt.backbone
import detr_jt.layers
import detr_pt.attention
import detr_pt.layers
from parity.ops.cases import LARGE, array, bools, case, floats, normal, picks, seeds, sizes
from parity.ops.operation import Array, Case, Operation

Tensor = Any
HEADS, EMBED = 2, 8


def attention_weights(seed: int) -> dict[str, Array]:
    """Return the parameters of an attention module in the order of its state dict."""
    shapes = {"in_proj_weight": (3 * EMBED, EMBED), "in_proj_bias": (3 * EMBED,)}
    shapes |= {"out_proj.weight": (EMBED, EMBED), "out_proj.bias": (EMBED,)}
    return {name: normal(seed + i, *shape, scale=0.5) for i, (name, shape) in enumerate(shapes.items())}


@st.composite
def attentions(draw: st.DrawFn) -> Case:
    """Generate queries, keys and masks; an image may be wholly padding."""
    length, source, batch = draw(sizes((2, 5), (2, 6), (2, 3)))
    seed = draw(seeds)
    arrays = {"query": normal(seed, length, batch, EMBED), "key": normal(seed + 7, source, batch, EMBED)}
    arrays |= {"mask": draw(bools((batch, source)))} | attention_weights(seed + 11)
    return Case(arrays)


def attend_pt(query: Tensor, key: Tensor, mask: Tensor, *weights: Tensor) -> Tensor:
    """Attend with detr_pt and the given weights."""
    module = detr_pt.attention.MultiheadAttention(EMBED, HEADS).to(query.dtype)
    module.load_state_dict(dict(zip(module.state_dict(), weights, strict=True)))
    return module(query, key, key, key_padding_mask=mask)


def attend_jt(query: Tensor, key: Tensor, mask: Tensor, *weights: Tensor) -> Tensor:
    """Attend with detr_jt and the given weights."""
    module = detr_jt.attention.MultiheadAttention(EMBED, HEADS)
    module.in_proj_weight, module.in_proj_bias, module.out_proj.weight, module.out_proj.bias = weights
    return module(query, key, key, key_padding_mask=mask)


@st.composite
def normalised(draw: st.DrawFn) -> Case:
    """Generate rows near a mean that may be a hundred deviations away, or constant rows."""
    rows, columns = draw(sizes((2, 4), (2, 16)))
    scale, mean = draw(st.sampled_from([0.0, 0.01, 1.0, 30.0])), draw(st.sampled_from([0.0, 1.0, -100.0]))
    seed = draw(seeds)
    x = normal(seed, 2, rows, columns, scale=scale) + np.float32(mean * (scale or 1))
    return Case({"x": x, "weight": normal(seed + 1, columns), "bias": normal(seed + 2, columns)})


def layer_norm_jt(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise with detr_jt."""
    module = detr_jt.layers.LayerNorm(x.shape[-1])
    module.weight, module.bias = weight, bias
    return module(x)


def _own_layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    module = jt.nn.LayerNorm(x.shape[-1])
    module.weight, module.bias = weight, bias
    return module(x)


def _norm_condition(x: Array, weight: Array, bias: Array) -> float:
    """Rounding of the mean, as a number of deviations, times the weight."""
    if x.size == 0:
        return 0.0
    deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return float((np.abs(x).max(-1, keepdims=True) / deviation).max() * np.abs(weight).max() + np.abs(bias).max())


@st.composite
def frozen(draw: st.DrawFn) -> Case:
    """Generate a map and the four vectors of a frozen batch norm; variances from 0 up."""
    shape = draw(sizes((2, 3), (2, 4), (2, 4), (2, 4)))
    seed, channels = draw(seeds), shape[1]
    names = ("weight", "bias", "running_mean")
    vectors = {name: normal(seed + i, channels) for i, name in enumerate(names)}
    variance = draw(array((channels,), picks(0, 1e-6, 0.25, 1, 40)))
    return Case({"x": normal(seed + 5, *shape), **vectors, "running_var": variance})


def _frozen(module: Any, x: Tensor, vectors: tuple[Tensor, ...]) -> Tensor:
    for name, value in zip(("weight", "bias", "running_mean", "running_var"), vectors, strict=True):
        setattr(module, name, value)
    return module(x)


def _frozen_scale(x: Array, weight: Array, bias: Array, running_mean: Array, running_var: Array) -> float:
    scale = np.abs(weight / np.sqrt(running_var + 1e-5)).max()
    return float(scale * (np.abs(x).max(initial=0.0) + np.abs(running_mean).max()) + np.abs(bias).max())


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    """Generate a map, a kernel, and strides, paddings and dilations of ResNet and beyond."""
    kernel, stride, dilation = draw(st.sampled_from([1, 3])), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    padding = draw(st.integers(0, 2))
    batch, inputs, outputs, height, width = draw(sizes((2, 3), (2, 4), (2, 4), (5, 9), (5, 9)))
    seed = draw(seeds)
    arrays = {
        "x": normal(seed, batch, inputs, height, width),
        "weight": normal(seed + 1, outputs, inputs, kernel, kernel),
    }
    return Case(arrays, {"stride": stride, "padding": padding, "dilation": dilation})


def conv_jt(x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
    """Convolve with detr_jt."""
    outputs, inputs, kernel, _ = weight.shape
    module = detr_jt.layers.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    module.weight = weight
    return module(x)


def _conv_scale(x: Array, weight: Array, **_: int) -> float:
    return float(np.abs(x).max() * np.abs(weight).sum((1, 2, 3)).max())


_MASK_SIDE = (1, 1400)


@st.composite
def masks(draw: st.DrawFn) -> Case:
    """Generate padding masks as of a batch, and the size of a feature map (or any other)."""
    height, width = draw(sizes((1, 60), _MASK_SIDE))
    size = (-(-height // 32), -(-width // 32)) if draw(st.booleans()) else draw(sizes((1, 20), (1, 90)))
    valid = draw(sizes((0, height), (0, width)))
    mask = np.ones((2, height, width), dtype=bool)
    mask[0, : valid[0], : valid[1]] = False
    mask[1, ::2] = False
    return Case({"mask": mask}, {"size": size})


def nearest_pt(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample as detr_pt does."""
    return pt_f.interpolate(mask[:, None].float(), size=size)[:, 0].bool()


def nearest_jt(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample as detr_jt does."""
    rows, columns = (detr_jt.backbone.nearest(n, k) for n, k in zip(mask.shape[1:], size, strict=True))
    return mask[:, rows][:, :, columns]


@st.composite
def images(draw: st.DrawFn) -> Case:
    """Generate maps and the size to resample them to; never a single value, which Jittor cannot make."""
    shape, size = draw(sizes((2, 3), (2, 3), (2, 9), (2, 9))), draw(sizes((2, 12), (2, 12)))
    return Case({"x": normal(draw(seeds), *shape)}, {"size": size})


def bilinear_jt(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample along one axis after the other, with weights that are right in float64."""
    for axis, (size_in, size_out) in ((2, (x.shape[2], size[0])), (3, (x.shape[3], size[1]))):
        at = np.clip((np.arange(size_out) + 0.5) * size_in / size_out - 0.5, 0, None)
        low = at.astype(np.int32)
        high = np.minimum(low + 1, size_in - 1)
        share = jt.array((at - low).reshape(-1, *[1] * (3 - axis)), dtype=str(x.dtype))
        lower, upper = (x[:, :, i] if axis == 2 else x[:, :, :, i] for i in (low, high))
        x = lower * (1 - share) + upper * share
    return x


LAYERS = (
    Operation("attention", attentions(), attend_pt, attend_jt, magnitude=lambda **_: 10.0),
    Operation(
        "layer_norm",
        normalised(),
        lambda x, weight, bias: pt_f.layer_norm(x, x.shape[-1:], weight, bias),
        layer_norm_jt,
        _own_layer_norm,
        "layer-norm-mean",
        _norm_condition,
    ),
    Operation(
        "frozen_batch_norm",
        frozen(),
        lambda x, *v: _frozen(detr_pt.layers.FrozenBatchNorm2d(x.shape[1]), x, v),
        lambda x, *v: _frozen(detr_jt.layers.FrozenBatchNorm2d(x.shape[1]), x, v),
        magnitude=_frozen_scale,
    ),
    Operation("conv2d", convolutions(), torch.conv2d, conv_jt, magnitude=_conv_scale),
    Operation(
        "linear",
        case(
            x=array(sizes((2, 3), (2, 4), (5, 5)), floats()),
            weight=array(sizes((2, 6), (5, 5)), floats()),
        ),
        pt_f.linear,
        jt.nn.linear,
        magnitude=lambda x, weight: float(np.abs(x).max(initial=0) * np.abs(weight).sum(1).max(initial=0)),
    ),
    Operation(
        "max_pool2d",
        case(x=array(sizes((2, 3), (2, 3), (4, 8), (4, 8)), floats(*LARGE, -3e38))),
        lambda x: torch.max_pool2d(x, 3, 2, 1),
        jt.nn.Pool(3, stride=2, padding=1, op="maximum"),
    ),
    Operation(
        "interpolate nearest, masks",
        masks(),
        nearest_pt,
        nearest_jt,
        lambda mask, size: jt.nn.interpolate(mask[:, None].float32(), size=size)[:, 0].bool(),
        "interpolate-mode",
    ),
    Operation(
        "interpolate bilinear",
        images(),
        lambda x, size: pt_f.interpolate(x, size=size, mode="bilinear", align_corners=False),
        bilinear_jt,
        lambda x, size: jt.nn.interpolate(x, size=size, mode="bilinear"),
        "interpolate-float64",
        lambda x, size: 10.0,
    ),
)
