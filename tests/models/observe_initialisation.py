"""Samples of every freshly initialised parameter."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sides import Array, Arrays, Torch

from detr_common.options import default_args

CASES = {
    "r18-learned": {"backbone": "resnet18", "position_embedding": "learned"},
    "r50-pre-norm": {"pre_norm": True},
}
SAMPLE = 20_000  # values kept of a tensor
BUILDS = 6  # short tensors are gathered over so many models
LAYERS = {"enc_layers": 1, "dec_layers": 1}


def sample(drawn: list[Array]) -> Array:
    """Values of one parameter in several models, thinned evenly."""
    values = np.concatenate([value.ravel() for value in drawn])
    return values[:: -(-values.size // SAMPLE)]


def observe(side: Torch, _inputs: Mapping[str, Array]) -> Arrays:
    side.seed(1)
    result: dict[str, Any] = {}
    for case, changes in CASES.items():
        drawn: dict[str, list[Array]] = {}
        for build in range(BUILDS):
            model = side.module("detr").build_model(default_args(**LAYERS, **changes))[0]
            for name, value in side.state(model).items():
                if build == 0 or int(np.prod(value.shape)) < SAMPLE:
                    drawn.setdefault(name, []).append(side.numpy(value).copy())
        for name, values in drawn.items():
            result[f"{case}/{name}"] = sample(values)
    return result
