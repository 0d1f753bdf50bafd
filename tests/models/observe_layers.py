"""Convolution, dropout and layer norm."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sides import Array, Arrays, Torch

# in, out, kernel, stride, padding, dilation, bias, height, width
CONVOLUTIONS = (
    (3, 5, 1, 1, 0, 1, True, 7, 5),
    (3, 8, 7, 2, 3, 1, False, 33, 21),
    (4, 6, 3, 1, 1, 1, False, 9, 12),
    (4, 6, 3, 2, 1, 1, True, 9, 12),
    (4, 6, 3, 1, 2, 2, False, 11, 8),
    (4, 6, 1, 2, 0, 1, False, 9, 11),
    (2, 3, (3, 5), (2, 1), (0, 2), (1, 3), True, 13, 17),
    (5, 4, 3, 3, 0, 1, True, 3, 3),
    (2, 96, 3, 1, 1, 1, True, 96, 100),  # more patches than one block holds
)


def observe(side: Torch, _inputs: Mapping[str, Array]) -> Arrays:
    result: dict[str, Any] = {}
    for index in range(len(CONVOLUTIONS)):
        result |= {f"conv/{index}/{key}": value for key, value in convolution(side, index).items()}
    return result | dropout(side) | layer_norm(side) | frozen_norm(side)


def convolution(side: Torch, index: int) -> Arrays:
    """Output and gradients of one float64 convolution, and in Jittor the same by its own layer."""
    inputs, outputs, kernel, stride, padding, dilation, bias, height, width = CONVOLUTIONS[index]
    rng = np.random.default_rng([4, index])
    layer = side.module("layers").Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=bias)
    if side.name == "torch":
        layer = layer.double()
    weight = rng.standard_normal(tuple(layer.weight.shape))
    layer.weight = _parameter(side, weight)
    leaves = [layer.weight]
    if bias:
        layer.bias = _parameter(side, rng.standard_normal(outputs))
        leaves.append(layer.bias)
    x = side.leaf(rng.standard_normal((2, inputs, height, width)))
    y = layer(x)
    pull = side.array(rng.standard_normal(tuple(y.shape)))
    result = {"y": side.numpy(y)}
    for name, gradient in zip("xwb", side.gradients((y * pull).sum(), [x, *leaves]), strict=False):
        result[f"grad_{name}"] = gradient
    # Jittor's own convolution beside ours; PyTorch's is the same layer.
    own = y if side.name == "torch" else _jittors_own(layer, x)
    return result | {"own": side.numpy(own)}


def frozen_norm(side: Torch) -> Arrays:
    """What a frozen batch norm returns after its buffers were written to in each of the ways there are."""
    rng = np.random.default_rng(5)
    layer = side.module("layers").FrozenBatchNorm2d(4)
    x = side.array(rng.standard_normal((2, 4, 3, 5)).astype(np.float32))
    values = [rng.uniform(0.5, 2, 4).astype(np.float32) for _ in range(4)]
    result = {"new": side.numpy(layer(x))}
    if side.name == "torch":
        layer.weight.copy_(side.array(values[0]))
    else:
        layer.weight.assign(side.array(values[0]).stop_grad())
    result["assigned"] = side.numpy(layer(x))
    side.set_state(layer, {name: value + 1 for name, value in zip(side.state(layer), values, strict=True)})
    result["loaded"] = side.numpy(layer(x))
    # Through an array that shares its memory, which no framework can see.
    shared = layer.running_mean.numpy() if side.name == "torch" else layer.running_mean.data
    shared[:] = values[1]
    result["shared"] = side.numpy(layer(x))
    layer.eps = 0.5
    result["eps"] = side.numpy(layer(x))
    if side.name == "torch":
        layer.weight.requires_grad_()
    else:
        layer.weight.start_grad()
        import jittor as jt

        with jt.no_grad():
            layer(x)
    (gradient,) = side.gradients((layer(x) ** 2).sum(), [layer.weight])
    result["gradient"] = gradient
    return {f"frozen/{name}": value for name, value in result.items()}


def _parameter(side: Torch, value: Array) -> Any:
    if side.name == "jittor":
        return side.array(value)
    import torch

    return torch.nn.Parameter(side.array(value))


def _jittors_own(layer: Any, x: Any) -> Any:
    from jittor import nn

    return nn.Conv.execute(layer, x)


def dropout(side: Torch) -> Arrays:
    side.seed(5)
    dropped = side.module("layers").Dropout
    result = {}
    for dtype in ("float32", "float64"):
        ones = side.array(np.full((400, 500), 3.0, dtype=dtype))
        layer = dropped(0.3)
        result[f"dropout/{dtype}/new"] = side.numpy(layer(ones)).copy()
        result[f"dropout/{dtype}/again"] = side.numpy(layer(ones)).copy()
        layer.eval()
        result[f"dropout/{dtype}/eval"] = side.numpy(layer(ones)).copy()
        layer.train()
        result[f"dropout/{dtype}/train"] = side.numpy(layer(ones)).copy()
        result[f"dropout/{dtype}/none"] = side.numpy(dropped(0.0)(ones)).copy()
    x = side.leaf(np.full((50, 40), 3.0))
    y = dropped(0.3)(x)
    result["dropout/y"] = side.numpy(y).copy()
    result["dropout/gradient"] = side.gradients(y.sum(), [x])[0]
    return result


def layer_norm(side: Torch) -> Arrays:
    """Layer norm of values whose mean is 1000 times their standard deviation, and of common ones."""
    rng = np.random.default_rng(6)
    result = {}
    for name, mean in (("common", 0.3), ("far", 1000.0)):
        for dtype in ("float32", "float64"):
            layer = side.module("layers").LayerNorm(256)
            if dtype == "float64" and side.name == "torch":
                layer = layer.double()
            values = (rng.standard_normal((64, 256)) + mean).astype(dtype)
            result[f"norm/{name}/{dtype}/x"] = values
            result[f"norm/{name}/{dtype}/y"] = side.numpy(layer(side.array(values)))
    # No power of two: one over it is not the same in float32.
    layer = side.module("layers").LayerNorm(96)
    if side.name == "torch":
        layer = layer.double()
    x = side.leaf(rng.standard_normal((64, 96)))
    result["norm/gradient"] = side.gradients((layer(x) * side.array(rng.standard_normal((64, 96)))).sum(), [x])[0]
    return result
