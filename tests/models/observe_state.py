"""Names, shapes, order and freezing of the state dicts."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from sides import Array, Arrays, Torch, small_args

from detr_common.options import default_args

CASES = {
    "r18": {"backbone": "resnet18"},
    "r34": {"backbone": "resnet34"},
    "r50": {},
    "r101": {"backbone": "resnet101"},
    "r50-dc5": {"dilation": True},
    "learned": {"position_embedding": "learned"},
    "pre-norm": {"pre_norm": True},
    "panoptic": {"dataset_file": "coco_panoptic"},
    "frozen-backbone": {"lr_backbone": 0.0},
    "r18-float64": {"backbone": "resnet18", "dtype": "float64", "pre_norm": True, "position_embedding": "learned"},
    "r18-frozen-float64": {"backbone": "resnet18", "dtype": "float64", "lr_backbone": 0.0},
}


def described(side: Torch, model: Any) -> Array:
    """One JSON text: for every entry, in order, name, shape, dtype and whether it takes a gradient."""
    entries = [
        (name, list(value.shape), str(value.dtype).removeprefix("torch."), bool(side.takes_gradient(value)))
        for name, value in side.state(model).items()
    ]
    return np.array(json.dumps(entries))


def observe(side: Torch, _inputs: Mapping[str, Array]) -> Arrays:
    build = side.module("detr").build_model
    with side.undrawn():
        models = ((case, build(default_args(**changes))[0]) for case, changes in CASES.items())
        result = {f"state/{case}": described(side, model) for case, model in models}
        result["parameters/r50"] = np.array([name for name, _ in build(default_args())[0].named_parameters()])
    return result | trained(side, "float32")


def trained(side: Torch, dtype: str) -> Arrays:
    """One step of AdamW with weight decay, in training and after a spell of evaluation."""
    side.seed(0)
    model = side.module("detr").build_model(small_args(dtype=dtype))[0]
    model.eval()
    model.train()
    result = {f"after-eval/{dtype}": described(side, model)}
    before = {name: side.numpy(value).copy() for name, value in side.state(model).items()}
    out = model([side.array(np.random.default_rng(0).random((3, 64, 64), dtype=np.float32))])
    levels = [out, *out["aux_outputs"]]
    side.adamw_step(model, sum((level["pred_logits"] ** 2).sum() + level["pred_boxes"].sum() for level in levels))
    moved = [name for name, value in side.state(model).items() if not np.array_equal(side.numpy(value), before[name])]
    return result | {f"moved/{dtype}": np.array(moved)}
