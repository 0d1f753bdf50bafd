"""Plants the faults of masks and panoptic maps in a detr_jt model, its losses and its post-processing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jittor as jt
from jittor import nn

from detr_common import segments as segments_file
from detr_jt import mask_loss as loss_file
from detr_jt import postprocess as postprocess_file
from detr_jt import segmentation as segmentation_file
from detr_jt.layers import constant
from detr_jt.resize import resize_bilinear, resize_nearest
from parity.mutants.planting import Module, fault, override, override_with


@fault("mask-attends-to-padding")
def _attends_to_padding(attention: Module) -> None:
    override(attention, lambda self, execute, queries, memory, mask: execute(queries, memory, jt.zeros_like(mask)))


@fault("mask-attention-each-head")
def _each_head(attention: Module) -> None:
    def softmax(original: Callable[..., Any], x: Any, dim: int) -> Any:
        batch, queries, cells = x.shape
        heads = attention.num_heads
        return original(x.reshape(batch, queries, heads, cells // heads), dim=-1)

    override_with(attention, nn, "softmax", softmax)


@fault("mask-head-groups")
def _groups(norm: Module) -> None:
    norm.num_groups = 4


@fault("mask-head-levels-swapped")
def _levels_swapped(head: Module) -> None:
    def like(x: Any, other: Any) -> Any:
        """Give a map the size and the number of channels of another, which a swap must have to go unnoticed."""
        channels = other.shape[1]
        x = resize_nearest(x, other.shape[-2:])
        return jt.concat([x] * -(-channels // x.shape[1]), dim=1)[:, :channels]

    def execute(self: Module, original: Callable[..., Any], x: Any, attention: Any, finer: Any) -> Any:
        first, second, last = finer
        return original(x, attention, [like(second, first), like(first, second), last])

    override(head, execute)


@fault("mask-head-bilinear")
def _head_bilinear(head: Module) -> None:
    override_with(head, segmentation_file, "resize_nearest", lambda nearest, x, size: resize_bilinear(x, size))


@fault("mask-threshold")
def _mask_threshold(segm: Module, size: float) -> None:
    segm.threshold += size


def _corners_aligned(bilinear: Callable[..., Any], x: Any, size: Any) -> Any:
    return nn.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


@fault("mask-corners-aligned")
def _mask_corners(segm: Module) -> None:
    override_with(segm, postprocess_file, "resize_bilinear", _corners_aligned)


@fault("mask-nearest")
def _mask_nearest(segm: Module) -> None:
    override_with(segm, postprocess_file, "resize_bilinear", lambda bilinear, x, size: resize_nearest(x, size))


@fault("mask-padding-kept")
def _mask_padding(segm: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], results: Any, outputs: Any, there: Any, own: Any) -> Any:
        return original(results, outputs, there, jt.ones_like(own) * own.max(0))

    override(segm, execute)


@fault("panoptic-threshold")
def _panoptic_threshold(panoptic: Module, size: float) -> None:
    panoptic.threshold -= size


@fault("panoptic-stuff-not-merged")
def _stuff_not_merged(panoptic: Module) -> None:
    def first(original: Callable[..., Any], labels: Any, is_thing: Any) -> Any:
        return original(labels, dict.fromkeys(is_thing, True))

    override_with(panoptic, segments_file, "first_of_stuff", first)


@fault("panoptic-colours-reversed")
def _colours_reversed(panoptic: Module) -> None:
    def reversed_bytes(original: Callable[..., Any], ids: Any) -> Any:
        return original(ids % 256 * 65536 + ids // 256 % 256 * 256 + ids // 65536)

    override_with(panoptic, postprocess_file, "to_png", reversed_bytes)


@fault("panoptic-padding-squeezed")
def _squeezed(panoptic: Module) -> None:
    def map_of(self: Module, original: Any, labels: Any, sure: Any, masks: Any, _: Any, size: Any, there: Any) -> Any:
        return original(labels, sure, masks, tuple(size), size, there)

    override(panoptic, map_of, "map_of")


@fault("focal-alpha")
def _focal_alpha(focal: Module, size: float) -> None:
    focal.alpha += size


@fault("focal-gamma")
def _focal_gamma(focal: Module, size: float) -> None:
    focal.gamma -= size


@fault("dice-smoothing")
def _dice_smoothing(dice: Module, size: float) -> None:
    def execute(self: Module, original: Callable[..., Any], logits: Any, masks: Any) -> Any:
        inside = logits.sigmoid()
        overlap, areas = loss_file.total_of(inside * masks), loss_file.total_of(inside) + loss_file.total_of(masks)
        smooth = constant(1 - size, logits)
        return 1 - (2 * overlap + smooth) / (areas + smooth)

    override(dice, execute)


@fault("dice-of-logits")
def _dice_of_logits(dice: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], logits: Any, masks: Any) -> Any:
        overlap = loss_file.total_of(logits * masks)
        return 1 - (2 * overlap + 1) / (loss_file.total_of(logits) + loss_file.total_of(masks) + 1)

    override(dice, execute)


@fault("mask-loss-corners-aligned")
def _loss_corners(masks: Module) -> None:
    override_with(masks, loss_file, "resize_bilinear", _corners_aligned)


@fault("mask-loss-nearest")
def _loss_nearest(masks: Module) -> None:
    override_with(masks, loss_file, "resize_bilinear", lambda bilinear, x, size: resize_nearest(x, size))


@fault("mask-loss-not-counted")
def _loss_not_counted(masks: Module) -> None:
    override(masks, lambda self, execute, logits, there, matched, num_boxes: execute(logits, there, matched, 1.0))


@fault("mask-targets-reversed")
def _targets_reversed(criterion: Module) -> None:
    def layer_losses(
        self: Module, original: Any, outputs: Any, targets: Any, num_boxes: Any, log: Any, masks: Any = ()
    ) -> Any:
        turned = [jt.array(mask.numpy()[::-1].copy()) for mask in masks]
        return original(outputs, targets, num_boxes, log, turned)

    override(criterion, layer_losses, "layer_losses")


@fault("mask-pyramid-detached")
def _pyramid_detached(head: Module) -> None:
    def execute(self: Module, original: Callable[..., Any], x: Any, attention: Any, finer: Any) -> Any:
        return original(x, attention, [one.detach() for one in finer])

    override(head, execute)


@fault("mask-attention-detached")
def _attention_detached(head: Module) -> None:
    override(head, lambda self, execute, x, attention, finer: execute(x, attention.detach(), finer))


@fault("frozen-detector-trained")
def _frozen_trained(linear: Module) -> None:
    linear.weight.start_grad()
