"""Plants the faults of the gradients rung in a detr_jt model: every value stays, what flows back does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detr_jt import attention as attending
from detr_jt.layers import constant
from parity.mutants.planting import Module, fault, override, override_with


def _again(x: Any) -> Any:
    """Return the same values with twice the gradient."""
    return x + (x - x.detach())


@fault("residual-detached")
def _residual_detached(layer: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], src: Any, padding: Any = None, pos: Any = None) -> Any:
        x = src if pos is None else src + pos
        y = self.norm1(src.detach() + self.dropout1(self.self_attn(x, x, src, key_padding_mask=padding)))
        return self.norm2(y + self.dropout2(self.feed_forward(y)))

    override(layer, execute)


@fault("attention-weights-detached")
def _attention_detached(attention: Module) -> None:
    override_with(attention, attending, "attention_weights", lambda weights, *given: weights(*given).detach())


def _detach_auxiliary(model: Module, *keys: str) -> None:
    def execute(self: Module, original: Callable[..., Any], samples: Any) -> Any:
        outputs = original(samples)
        for layer in outputs["aux_outputs"]:
            layer.update({key: layer[key].detach() for key in keys})
        return outputs

    override(model, execute)


@fault("auxiliary-outputs-detached")
def _auxiliary_detached(model: Module) -> None:
    _detach_auxiliary(model, "pred_logits", "pred_boxes")


@fault("auxiliary-classes-detached")
def _auxiliary_classes_detached(model: Module) -> None:
    _detach_auxiliary(model, "pred_logits")


@fault("queries-frozen")
def _queries_frozen(embedding: Module) -> None:
    embedding.weight.stop_grad()


@fault("queries-detached")
def _queries_detached(transformer: Module) -> None:
    override(transformer, lambda self, execute, src, mask, queries, pos: execute(src, mask, queries.detach(), pos))


@fault("layernorm-variance-detached")
def _variance_detached(norm: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], x: Any) -> Any:
        centred = x - x.mean(dim=-1, keepdims=True)
        centred = centred - centred.mean(dim=-1, keepdims=True)
        variance = (centred * centred).mean(dim=-1, keepdims=True).detach()
        return centred / (variance + constant(self.eps, x)).sqrt() * self.weight + self.bias

    override(norm, execute)


@fault("layernorm-mean-detached")
def _mean_detached(norm: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], x: Any) -> Any:
        centred = x - x.mean(dim=-1, keepdims=True).detach()
        centred = centred - centred.mean(dim=-1, keepdims=True).detach()
        variance = (centred * centred).mean(dim=-1, keepdims=True)
        return centred / (variance + constant(self.eps, x)).sqrt() * self.weight + self.bias

    override(norm, execute)


@fault("relu-straight-through")
def _straight_through(activation: Module) -> None:
    override(activation, lambda self, execute, x: x + (execute(x) - x).detach())


@fault("giou-gradient-doubled")
def _giou_doubled(giou: Module) -> None:
    override(giou, lambda self, execute, boxes, found: _again(execute(boxes, found)))


@fault("cross-entropy-gradient")
def _cross_entropy_gradient(cross_entropy: Module, size: float) -> None:
    def execute(self: Module, original: Callable[..., Any], *args: Any) -> Any:
        loss = original(*args)
        return loss + (loss - loss.detach()) * constant(size, loss)

    override(cross_entropy, execute)


@fault("batchnorm-weight-trained")
def _batchnorm_trained(norm: Module) -> None:
    norm.weight.start_grad()


@fault("stem-trained")
def _stem_trained(conv: Module) -> None:
    conv.weight.start_grad()


@fault("stage-frozen")
def _stage_frozen(stage: Module) -> None:
    for weight in stage.parameters():
        weight.stop_grad()


@fault("bias-frozen")
def _bias_frozen(linear: Module) -> None:
    linear.bias.stop_grad()


@fault("l1-gradient-quartered")
def _l1_gradient(l1: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], boxes: Any, found: Any) -> Any:
        distance = original(boxes, found)
        return distance.detach() + (distance - distance.detach()) / 4

    override(l1, execute)


@fault("memory-detached")
def _memory_detached(decoder: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], tgt: Any, memory: Any, *args: Any, **kwargs: Any) -> Any:
        return original(tgt, memory.detach(), *args, **kwargs)

    override(decoder, execute)
