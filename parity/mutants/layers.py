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
from detr_jt.layers import constant
from detr_jt.nested_tensor import NestedTensor
from parity.mutants.planting import Module, fault, override, replaced


@fault("conv-padding-missing")
def _conv_padding_missing(conv: Module) -> None:
    conv.padding = (0, 0)


@fault("conv-padding-asymmetric")
def _conv_padding_asymmetric(conv: Module) -> None:
    conv.padding = (0, 0)
    override(conv, lambda self, execute, x: execute(nn.pad(x, (2, 0, 2, 0))))


@fault("conv-stride-on-1x1")
def _conv_stride(conv: Module) -> None:
    conv.stride = (2, 2)


@fault("dilation-dropped")
def _dilation_dropped(conv: Module) -> None:
    conv.dilation, conv.padding = (1, 1), (1, 1)


@fault("batchnorm-eps")
@fault("layernorm-eps")
def _eps(norm: Module, size: float) -> None:
    norm.eps -= size


@fault("batchnorm-statistics-reset")
def _batchnorm_reset(norm: Module) -> None:
    norm.running_mean.assign(jt.zeros_like(norm.running_mean))
    norm.running_var.assign(jt.ones_like(norm.running_var))


@fault("residual-in-place")
def _residual_in_place(block: Module, size: float) -> None:
    def execute(self: Module, original: Callable[..., Any], x: Any) -> Any:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out += x * constant(1 + size, x)
        return self.relu2(out)

    override(block, execute)


@fault("mask-bilinear")
def _mask_bilinear(backbone: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], batch: NestedTensor) -> list[NestedTensor]:
        (features,) = original(batch)
        size = tuple(features.mask.shape[1:])
        mask = nn.interpolate(batch.mask[:, None].float32(), size=size, mode="bilinear") > 0
        return [NestedTensor(features.tensors, mask[:, 0])]

    override(backbone, execute)


@fault("position-half-pixel")
def _position_half_pixel(position: Module, size: float) -> None:
    # The first cell is one cell away from the border, after stretching to 2 pi as before.
    override(position, lambda self, waves, x: waves(x - x[:, :1, :1] * constant(size, x)), "waves")


@fault("position-constant")
def _position_constant(position: Module) -> None:
    override(position, lambda self, waves, x: waves(jt.ones_like(x)), "waves")


@fault("position-temperature")
def _position_temperature(position: Module, size: float) -> None:
    position.temperature -= size


@fault("position-not-normalised")
def _position_not_normalised(position: Module) -> None:
    position.normalize = False


@fault("position-axes-swapped")
def _position_axes_swapped(position: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], batch: NestedTensor) -> Any:
        columns, rows = jt.chunk(original(batch), 2, dim=1)
        return jt.concat((rows, columns), dim=1)

    override(position, execute)


@fault("layernorm-unbiased")
def _layernorm_unbiased(norm: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], x: Any) -> Any:
        n = x.shape[-1]
        return (original(x) - self.bias) * ((n - 1) / n) ** 0.5 + self.bias

    override(norm, execute)


@fault("attention-scale-missing")
def _attention_scale(attention: Module) -> None:
    attention.scaling = 1.0


@fault("attention-query-key-swapped")
def _attention_swapped(attention: Module) -> None:
    override(attention, lambda self, project, x, part: project(x, (1, 0, 2)[part]), "project")


@fault("attention-heads-interleaved")
def _attention_interleaved(attention: Module) -> None:
    def project(self: Module, original: Callable[..., Any], x: Any, part: int) -> Any:
        y = original(x, part)
        batch, heads, length, width = y.shape
        joined = y.permute(2, 0, 1, 3).reshape(length, batch, width, heads)
        return joined.permute(1, 3, 0, 2)

    override(attention, project, "project")


@fault("attention-mask-inverted")
def _mask_inverted(attention: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], q: Any, k: Any, v: Any, key_padding_mask: Any) -> Any:
        return original(q, k, v, key_padding_mask=jt.logical_not(key_padding_mask))

    override(attention, execute)


@fault("attention-mask-dropped")
def _mask_dropped(attention: Module) -> None:
    override(attention, lambda self, execute, q, k, v, key_padding_mask: execute(q, k, v))


@fault("activation-gelu")
def _activation_gelu(activation: Module) -> None:
    override(activation, lambda self, execute, x: nn.gelu(x))


@fault("encoder-pre-norm")
def _encoder_pre_norm(layer: Module) -> None:
    layer.pre_norm = True


def _without_position(layer: Module, call: int) -> None:
    """Leave out the position in one sum of a layer: 0 self-attention, 1 queries and 2 keys of cross-attention."""

    def execute(self: Module, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        add, sums = transformer_file.with_pos_embed, count()
        with replaced(transformer_file, "with_pos_embed", lambda x, pos: x if next(sums) == call else add(x, pos)):
            return original(*args, **kwargs)

    override(layer, execute)


@fault("query-pos-missing")
def _query_pos_missing(layer: Module) -> None:
    _without_position(layer, 1)


@fault("memory-pos-missing")
def _memory_pos_missing(layer: Module) -> None:
    _without_position(layer, 2)


@fault("queries-permuted")
def _queries_permuted(embedding: Module) -> None:
    order = [1, 0, *range(2, embedding.weight.shape[0])]
    embedding.weight.assign(embedding.weight[jt.array(order)])


@fault("aux-order-reversed")
def _aux_reversed(model: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], samples: Any) -> Any:
        outputs = original(samples)
        return {**outputs, "aux_outputs": outputs["aux_outputs"][::-1]}

    override(model, execute)


@fault("no-object-first")
def _no_object_first(postprocess: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], outputs: dict[str, Any], sizes: Any) -> Any:
        logits = outputs["pred_logits"]
        return original({**outputs, "pred_logits": jt.concat((logits[..., 1:], logits[..., :1]), dim=-1)}, sizes)

    override(postprocess, execute)


@fault("box-width-height-swapped")
def _box_swapped(postprocess: Module) -> None:
    override(postprocess, lambda self, execute, outputs, sizes: execute(outputs, sizes[:, jt.array([1, 0])]))
