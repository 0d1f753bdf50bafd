"""The known faults of masks and panoptic maps."""

from __future__ import annotations

from typing import Any

from parity.mutants.mutant import Mutant

# The smallest detector that a mask head fits on, and whose panoptic maps have stuff that is found twice.
MASKED: dict[str, object] = {"masks": True, "dataset_file": "coco_panoptic", "hidden_dim": 128, "nheads": 8}
_SEGM, _PANOPTIC = "postprocess.segm", "postprocess.panoptic"


def _masked(rung: str, name: str, module: str, what: str, **rest: Any) -> Mutant:
    return Mutant(name, module, what, {**MASKED, **rest.pop("options", {})}, rung, **rest)


LAYERS = (
    _masked("layers", "mask-attends-to-padding", "bbox_attention", "the attention maps of masks reach into padding"),
    _masked(
        "layers", "mask-attention-each-head", "bbox_attention", "a softmax over pixels in each head, not over both"
    ),
    _masked("layers", "mask-head-groups", "mask_head.gn3", "a group norm of the mask head has four groups"),
    _masked("layers", "mask-head-levels-swapped", "mask_head", "two levels of the feature pyramid are exchanged"),
    _masked("layers", "mask-head-bilinear", "mask_head", "the pyramid is enlarged bilinearly, not by nearest pixels"),
    _masked("layers", "mask-threshold", _SEGM, "pixels inside have a probability above 0.6", size=0.1),
    _masked("layers", "mask-corners-aligned", _SEGM, "masks are enlarged with their corners aligned"),
    _masked("layers", "mask-nearest", _SEGM, "masks are enlarged by nearest pixels, not bilinearly"),
    _masked("layers", "mask-padding-kept", _SEGM, "masks are scaled to photographs with the padding"),
    _masked("layers", "panoptic-threshold", _PANOPTIC, "queries are sure above 0.5", size=0.35),
    _masked("layers", "panoptic-stuff-not-merged", _PANOPTIC, "stuff that is found twice is two segments"),
    _masked("layers", "panoptic-colours-reversed", _PANOPTIC, "ids are written as blue, green, red"),
    _masked("layers", "panoptic-padding-squeezed", _PANOPTIC, "the padded mask is squeezed into the image"),
)
LOSSES = (
    _masked("losses", "focal-alpha", "criterion.masks.focal", "alpha 0.75, that is 0.5 too much", size=0.5),
    _masked("losses", "focal-gamma", "criterion.masks.focal", "gamma 1, that is 1 too little", size=1.0),
    _masked("losses", "dice-smoothing", "criterion.masks.dice", "no pixel is added to overlap and areas", size=1.0),
    _masked("losses", "dice-of-logits", "criterion.masks.dice", "dice loss of logits, not of probabilities"),
    _masked("losses", "mask-loss-corners-aligned", "criterion.masks", "masks are enlarged with corners aligned"),
    _masked("losses", "mask-loss-nearest", "criterion.masks", "masks are enlarged by nearest pixels"),
    _masked("losses", "mask-loss-not-counted", "criterion.masks", "mask losses are not divided by the objects"),
    _masked("losses", "mask-targets-reversed", "criterion", "masks of objects come in another order than queries"),
)
GRADIENTS = (
    _masked("gradients", "mask-pyramid-detached", "mask_head", "no gradient flows from the pyramid to the backbone"),
    _masked(
        "gradients", "mask-attention-detached", "mask_head", "no gradient flows from attention maps to the detector"
    ),
    _masked(
        "gradients",
        "frozen-detector-trained",
        "detr.class_embed",
        "a head of the detector is trained that --frozen_weights keeps",
        options={"frozen_weights": "detector.pth"},
    ),
)
