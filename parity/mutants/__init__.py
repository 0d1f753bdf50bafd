"""Known faults, the bugs that porters make, each with the module where the harness must find it.

The lists hold no framework; ``parity.mutants.port`` plants the faults in a Jittor model.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

from parity.mutants import segmentation
from parity.mutants.data import DATA
from parity.mutants.mutant import Mutant
from parity.mutants.training import GRADIENTS, LOSSES, STEPS

_BODY = "backbone.0.body"
_R50: dict[str, object] = {"backbone": "resnet50"}
_ENCODER = "transformer.encoder.layers"
_DECODER = "transformer.decoder.layers"

_LAYERS = (
    Mutant("conv-padding-missing", f"{_BODY}.layer4.1.conv2", "a 3x3 convolution of the last stage pads nothing"),
    Mutant(
        "conv-padding-asymmetric",
        f"{_BODY}.layer3.1.conv2",
        "a 3x3 convolution pads two pixels at one side, none at the other",
    ),
    Mutant("conv-stride-on-1x1", f"{_BODY}.layer2.0.conv1", "a stage strides in its 1x1 convolution (ResNet v1)", _R50),
    Mutant("dilation-dropped", f"{_BODY}.layer4.1.conv2", "DC5 without dilation", {**_R50, "dilation": True}),
    Mutant(
        "batchnorm-eps", f"{_BODY}.layer2.1.bn1", "eps of a frozen batch norm 1e-6, that is 9e-6 too small", size=9e-6
    ),
    Mutant("batchnorm-statistics-reset", f"{_BODY}.layer3.0.bn2", "statistics left at mean 0 and variance 1"),
    Mutant(
        "residual-in-place",
        f"{_BODY}.layer3.1",
        "a block adds its shortcut in place, by 1e-3 of it too large; the batch norm before it is not to blame",
        {"backbone": "resnet18"},
        size=1e-3,
    ),
    Mutant("mask-bilinear", "backbone.0", "the padding mask is downsampled bilinearly; any part counts as padding"),
    Mutant("position-half-pixel", "backbone.1", "coordinates of pixel centres, half a pixel off", size=0.5),
    Mutant("position-constant", "backbone.1", "the running sum of a bool mask stays bool, so every pixel is at 1"),
    Mutant("position-temperature", "backbone.1", "temperature 9999, 1 too small", size=1.0),
    Mutant("position-not-normalised", "backbone.1", "coordinates are not stretched to 2 pi"),
    Mutant("position-axes-swapped", "backbone.1", "rows before columns", {"position_embedding": "learned"}),
    Mutant("layernorm-eps", f"{_ENCODER}.1.norm2", "eps of a layer norm 1e-6, that is 9e-6 too small", size=9e-6),
    Mutant("layernorm-unbiased", f"{_ENCODER}.0.norm1", "layer norm divides by n - 1"),
    Mutant("attention-scale-missing", f"{_ENCODER}.1.self_attn", "no 1/sqrt(d) before the softmax"),
    Mutant(
        "attention-query-key-swapped", f"{_ENCODER}.0.self_attn", "the packed projection is read as key, query, value"
    ),
    Mutant("attention-heads-interleaved", f"{_DECODER}.0.self_attn", "features are split as (D, H), not (H, D)"),
    Mutant("attention-mask-inverted", f"{_DECODER}.0.multihead_attn", "attention to padding only"),
    Mutant("attention-mask-dropped", f"{_ENCODER}.1.self_attn", "one layer attends to padding as well"),
    Mutant("activation-gelu", f"{_ENCODER}.1.activation", "GELU for ReLU"),
    Mutant("encoder-pre-norm", f"{_ENCODER}.1", "one layer normalises before, not after"),
    Mutant("query-pos-missing", f"{_DECODER}.1", "object queries are not added in cross-attention"),
    Mutant("memory-pos-missing", f"{_DECODER}.0", "positions are not added to the keys of cross-attention"),
    Mutant("queries-permuted", "query_embed", "two object queries are exchanged"),
    Mutant("aux-order-reversed", "(root)", "auxiliary outputs from the last layer to the first", {"dec_layers": 3}),
    Mutant("no-object-first", "postprocess", "'no object' is taken to be the first class, not the last"),
    Mutant("box-width-height-swapped", "postprocess", "boxes are scaled by (height, width)"),
)

_IN_ORDER = (
    *DATA,
    *_LAYERS,
    *segmentation.LAYERS,
    *LOSSES,
    *segmentation.LOSSES,
    *GRADIENTS,
    *segmentation.GRADIENTS,
    *STEPS,
)
CATALOGUE = {mutant.name: mutant for mutant in _IN_ORDER}


def sized(text: str) -> Mutant:
    """Return the fault that ``NAME`` or ``NAME=SIZE`` asks for.

    Raises:
        KeyError: there is no such fault.
        ValueError: the fault has no size, or this is not one.
    """
    name, given, size = text.partition("=")
    mutant = CATALOGUE[name]
    if not given:
        return mutant
    if not mutant.size:
        raise ValueError(f"{name} has no size: it is there or not; leave ={size} out")
    if not (number := float(size)) or not isfinite(number):
        raise ValueError(f"{size} is not a size; give a number other than 0")
    return replace(mutant, size=number)
