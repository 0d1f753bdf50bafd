"""The known faults of training, by rung."""

from __future__ import annotations

from typing import Any

from parity.mutants.mutant import Mutant

_LAST_BLOCK = "backbone.0.body.layer4.1"


def _losses(name: str, module: str, what: str, **rest: Any) -> Mutant:
    return Mutant(name, module, what, rung="losses", **rest)


def _gradients(name: str, module: str, what: str, **rest: Any) -> Mutant:
    return Mutant(name, module, what, rung="gradients", **rest)


def _steps(name: str, module: str, what: str, **rest: Any) -> Mutant:
    return Mutant(name, module, what, rung="steps", **rest)


# Of these seeded detectors one finds the class of an object and the first class, one "no object"; of most neither does.
_CLASS_RIGHT: dict[str, object] = {"seed": 0}
_NO_OBJECT: dict[str, object] = {"seed": 2}

LOSSES = (
    _losses("no-object-weight-one", "criterion", 'the weight of "no object" is not applied'),
    _losses("no-object-weight-first", "criterion", 'the weight of "no object" is given to the first class'),
    _losses("cross-entropy-plain-mean", "criterion.labels.cross_entropy", "weighted losses are divided by their count"),
    _losses("cross-entropy-of-probabilities", "criterion.labels.cross_entropy", "softmax before the log-softmax"),
    _losses("labels-shifted", "criterion.labels", "classes of objects are off by one"),
    _losses("unmatched-are-class-zero", "criterion.labels", "unmatched queries have the first class for a target"),
    _losses("auxiliary-weight", "criterion", "an auxiliary loss counts by 1e-6 of its weight too much", size=1e-6),
    _losses("last-layer-not-counted", "criterion", "the total holds the auxiliary losses only"),
    _losses("giou-without-hull", "criterion.boxes.giou", "IoU for generalized IoU"),
    _losses("giou-of-centres", "criterion.boxes.giou", "boxes are not turned into corners"),
    _losses("giou-negated", "criterion.boxes.giou", "one plus the generalized IoU"),
    _losses("l1-of-corners", "criterion.boxes.l1", "L1 distance of the corners"),
    _losses("l1-mean", "criterion.boxes.l1", "L1 distance averaged over the four numbers"),
    _losses("boxes-not-counted", "criterion.boxes", "box losses are not divided by the number of objects"),
    _losses("boxes-counted-one-more", "criterion.boxes", "box losses are divided by one object too many", size=1.0),
    _losses("matched-by-product", "criterion.boxes", "images and queries index as a product, not in pairs"),
    _losses("matching-sorted-apart", "criterion.matcher", "the objects of a matching are sorted without their queries"),
    _losses(
        "matching-of-last-layer",
        "criterion.matcher",
        "auxiliary layers are not matched, but use the last layer's",
        at="criterion",
    ),
    _losses("matching-class-sign", "criterion.matcher.cost", "the probability of the class makes a match cost more"),
    _losses("matching-without-giou", "criterion.matcher.cost", "the matching cost lacks the generalized IoU"),
    _losses("matching-by-iou", "criterion.matcher.cost", "the matching cost has IoU for generalized IoU"),
    _losses("matching-by-logits", "criterion.matcher.cost", "the matching cost has logits for probabilities"),
    _losses(
        "class-error-of-values",
        "criterion.labels",
        "argmax gives (index, value); the value is taken as a class",
        options=_CLASS_RIGHT,
    ),
    _losses("cardinality-of-values", "criterion.cardinality", "the same where objects are counted", options=_NO_OBJECT),
    _losses(
        "cardinality-first-class",
        "criterion.cardinality",
        "the first class counts as none, not the last",
        options=_CLASS_RIGHT,
    ),
)

GRADIENTS = (
    _gradients("residual-detached", "transformer.encoder.layers.1", "no gradient flows through a residual connection"),
    _gradients(
        "attention-weights-detached", "transformer.encoder.layers.0.self_attn", "attention weights are detached"
    ),
    _gradients("auxiliary-outputs-detached", "(root)", "auxiliary outputs are detached"),
    _gradients("auxiliary-classes-detached", "(root)", "the logits of auxiliary outputs are detached"),
    _gradients("memory-detached", "transformer.decoder", "no gradient flows from the decoder to the encoder"),
    _gradients("queries-frozen", "query_embed", "object queries take no gradient"),
    _gradients("queries-detached", "transformer", "the transformer detaches the object queries"),
    _gradients("layernorm-variance-detached", "transformer.encoder.layers.1.norm2", "the variance is a constant"),
    _gradients("layernorm-mean-detached", "transformer.decoder.layers.0.norm1", "the mean is a constant"),
    _gradients("relu-straight-through", "transformer.encoder.layers.0.activation", "ReLU passes on every gradient"),
    _gradients("giou-gradient-doubled", "criterion.boxes.giou", "a loss has twice its gradient"),
    _gradients("l1-gradient-quartered", "criterion.boxes.l1", "a loss has the gradient of its mean"),
    _gradients(
        "cross-entropy-gradient",
        "criterion.labels.cross_entropy",
        "the gradient of a loss is 1e-6 of it too large",
        size=1e-6,
    ),
    _gradients("batchnorm-weight-trained", f"{_LAST_BLOCK}.bn2", "the scale of a frozen batch norm takes a gradient"),
    _gradients("stem-trained", "backbone.0.body.conv1", "the stem takes a gradient"),
    _gradients(
        "stage-frozen", "backbone.0.body.layer4.0.conv1", "a stage takes no gradient", at="backbone.0.body.layer4"
    ),
    _gradients("bias-frozen", "class_embed", "a bias takes no gradient"),
)

_DROPOUT: dict[str, object] = {"dropout": 0.1}

STEPS = (
    _steps("decay-coupled", "optimizer", "weight decay is added to the gradient (Adam, not AdamW)"),
    _steps("decay-not-by-rate", "optimizer", "weight decay is not multiplied by the learning rate"),
    _steps("decay-not-of-vectors", "optimizer", "biases and norms do not decay"),
    _steps("adam-eps-inside-root", "optimizer", "eps inside the root"),
    _steps("adam-eps", "optimizer", "eps 1e-6, that is 9.9e-7 too large", size=9.9e-7),
    _steps("adam-second-beta", "optimizer", "second beta 0.99, that is 0.009 too small", size=0.009),
    _steps("adam-bias-not-corrected", "optimizer", "the bias of the moments is not corrected"),
    _steps("adam-bias-one-late", "optimizer", "the bias is corrected as one step later"),
    _steps("moments-not-zero", "optimizer", "the first moment starts at the first gradient, not at zero"),
    _steps("backbone-not-updated", "optimizer", "the group of the backbone is forgotten"),
    _steps("clip-skipped", "clip_grad_norm", "gradients are not clipped"),
    _steps("clip-each-parameter", "clip_grad_norm", "each gradient is clipped on its own"),
    _steps("clip-enlarges", "clip_grad_norm", "gradients below the norm are scaled up to it"),
    _steps("clip-each-group", "clip_grad_norm", "each group is clipped on its own"),
    _steps(
        "clip-norm-two-percent-off",
        "clip_grad_norm",
        "the norm is by 0.02 of it too small, as Jittor's own in float32",
        size=0.02,
    ),
    _steps("rates-exchanged", "schedule", "the learning rates of the two groups are exchanged"),
    _steps("backbone-at-full-rate", "schedule", "the backbone learns at the rate of the rest"),
    _steps("drop-one-late", "schedule", "the rates drop an epoch late"),
    _steps("drop-only-once", "schedule", "the rates drop once, and never again"),
    _steps("drop-of-first-group", "schedule", "the rate of the backbone never drops"),
    _steps("drop-to-half", "schedule", "the rates drop to half, not to a tenth"),
    _steps(
        "gradients-not-cleared",
        "clip_grad_norm",
        "gradients of the step before are added; their norm is the first to tell",
    ),
    _steps(
        "dropout-not-scaled", "criterion", "dropout without 1 / (1 - p); the losses tell", options=_DROPOUT, at="(root)"
    ),
    _steps("dropout-off", "criterion", "no dropout in training; the losses tell", options=_DROPOUT, at="(root)"),
    _steps(
        "batchnorm-statistics-updated",
        f"{_LAST_BLOCK}.bn2",
        "a frozen batch norm follows its input; the state after a step tells",
        at="(root)",
    ),
)
