"""Plants the faults of the layers rung in a detr_jt model.

Each function takes the model, the module that its fault sits in, and the post-processing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import jittor as jt
from jittor import nn

from detr_jt import transformer as transformer_file
from detr_jt.nested_tensor import NestedTensor
from parity.mutants import CATALOGUE

Module = Any
Plant = Callable[[Module], None]
PLANTS: dict[str, Plant] = {}


def plant(name: str, modules: dict[str, Module]) -> None:
    """Plant a fault.

    Args:
        name: key of ``parity.mutants.CATALOGUE``.
        modules: all modules of the model by name, the root and post-processing included.
    """
    PLANTS[name](modules[CATALOGUE[name].module])


def _fault(name: str) -> Callable[[Plant], Plant]:
    def register(function: Plant) -> Plant:
        PLANTS[name] = function
        return function

    return register


def _override(module: Module, execute: Callable[..., Any], method: str = "execute") -> None:
    """Replace a method of one module, whose original is handed to the replacement as its second argument."""
    parent = type(module)
    original = getattr(parent, method)

    def replacement(self: Module, *args: Any, **kwargs: Any) -> Any:
        return execute(self, lambda *a, **k: original(self, *a, **k), *args, **kwargs)

    module.__class__ = type(parent.__name__, (parent,), {method: replacement})


@_fault("conv-padding-missing")
def _conv_padding_missing(conv: Module) -> None:
    conv.padding = (0, 0)


@_fault("conv-padding-asymmetric")
def _conv_padding_asymmetric(conv: Module) -> None:
    conv.padding = (0, 0)
    _override(conv, lambda self, execute, x: execute(nn.pad(x, (2, 0, 2, 0))))


@_fault("conv-stride-on-1x1")
def _conv_stride(conv: Module) -> None:
    conv.stride = (2, 2)


@_fault("dilation-dropped")
def _dilation_dropped(conv: Module) -> None:
    conv.dilation, conv.padding = (1, 1), (1, 1)


@_fault("batchnorm-eps")
@_fault("layernorm-eps")
def _eps(norm: Module) -> None:
    norm.eps = 1e-6


@_fault("batchnorm-statistics-reset")
def _batchnorm_reset(norm: Module) -> None:
    norm.running_mean.assign(jt.zeros_like(norm.running_mean))
    norm.running_var.assign(jt.ones_like(norm.running_var))


@_fault("residual-in-place")
def _residual_in_place(block: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], x: Any) -> Any:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out += x * 1.001
        return self.relu2(out)

    _override(block, execute)


@_fault("mask-bilinear")
def _mask_bilinear(backbone: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], batch: NestedTensor) -> NestedTensor:
        features = original(batch)
        size = tuple(features.mask.shape[1:])
        mask = nn.interpolate(batch.mask[:, None].float32(), size=size, mode="bilinear") > 0
        return NestedTensor(features.tensors, mask[:, 0])

    _override(backbone, execute)


@_fault("position-half-pixel")
def _position_half_pixel(position: Module) -> None:
    # Half a cell of a map of the tests' size, after stretching to 2 pi.
    _override(position, lambda self, waves, x: waves(x - x[:, :1, :1] * 0.5), "waves")


@_fault("position-constant")
def _position_constant(position: Module) -> None:
    _override(position, lambda self, waves, x: waves(jt.ones_like(x)), "waves")


@_fault("position-temperature")
def _position_temperature(position: Module) -> None:
    position.temperature = 9999


@_fault("position-not-normalised")
def _position_not_normalised(position: Module) -> None:
    position.normalize = False


@_fault("position-axes-swapped")
def _position_axes_swapped(position: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], batch: NestedTensor) -> Any:
        columns, rows = jt.chunk(original(batch), 2, dim=1)
        return jt.concat((rows, columns), dim=1)

    _override(position, execute)


@_fault("layernorm-unbiased")
def _layernorm_unbiased(norm: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], x: Any) -> Any:
        n = x.shape[-1]
        return (original(x) - self.bias) * ((n - 1) / n) ** 0.5 + self.bias

    _override(norm, execute)


@_fault("attention-scale-missing")
def _attention_scale(attention: Module) -> None:
    attention.scaling = 1.0


@_fault("attention-query-key-swapped")
def _attention_swapped(attention: Module) -> None:
    _override(attention, lambda self, project, x, part: project(x, (1, 0, 2)[part]), "project")


@_fault("attention-heads-interleaved")
def _attention_interleaved(attention: Module) -> None:
    def project(self: Module, original: Callable[..., Any], x: Any, part: int) -> Any:
        y = original(x, part)
        batch, heads, length, width = y.shape
        joined = y.permute(2, 0, 1, 3).reshape(length, batch, width, heads)
        return joined.permute(1, 3, 0, 2)

    _override(attention, project, "project")


@_fault("attention-mask-inverted")
def _mask_inverted(attention: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], q: Any, k: Any, v: Any, key_padding_mask: Any) -> Any:
        return original(q, k, v, key_padding_mask=jt.logical_not(key_padding_mask))

    _override(attention, execute)


@_fault("attention-mask-dropped")
def _mask_dropped(attention: Module) -> None:
    _override(attention, lambda self, execute, q, k, v, key_padding_mask: execute(q, k, v))


@_fault("activation-gelu")
def _activation_gelu(activation: Module) -> None:
    _override(activation, lambda self, execute, x: nn.gelu(x))


@_fault("encoder-pre-norm")
def _encoder_pre_norm(layer: Module) -> None:
    layer.pre_norm = True


def _without_position(layer: Module, call: int) -> None:
    """Leave out the position in one sum of a layer: 0 self-attention, 1 queries and 2 keys of cross-attention."""

    def execute(self: Module, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        add, sums = transformer_file.with_pos_embed, count()
        transformer_file.with_pos_embed = lambda x, pos: x if next(sums) == call else add(x, pos)
        try:
            return original(*args, **kwargs)
        finally:
            transformer_file.with_pos_embed = add

    _override(layer, execute)


@_fault("query-pos-missing")
def _query_pos_missing(layer: Module) -> None:
    _without_position(layer, 1)


@_fault("memory-pos-missing")
def _memory_pos_missing(layer: Module) -> None:
    _without_position(layer, 2)


@_fault("queries-permuted")
def _queries_permuted(embedding: Module) -> None:
    order = [1, 0, *range(2, embedding.weight.shape[0])]
    embedding.weight.assign(embedding.weight[jt.array(order)])


@_fault("aux-order-reversed")
def _aux_reversed(model: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], samples: Any) -> Any:
        outputs = original(samples)
        return {**outputs, "aux_outputs": outputs["aux_outputs"][::-1]}

    _override(model, execute)


@_fault("no-object-first")
def _no_object_first(postprocess: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], outputs: dict[str, Any], sizes: Any) -> Any:
        logits = outputs["pred_logits"]
        return original({**outputs, "pred_logits": jt.concat((logits[..., 1:], logits[..., :1]), dim=-1)}, sizes)

    _override(postprocess, execute)


@_fault("box-width-height-swapped")
def _box_swapped(postprocess: Module) -> None:
    _override(postprocess, lambda self, execute, outputs, sizes: execute(outputs, sizes[:, jt.array([1, 0])]))
