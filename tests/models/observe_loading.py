"""What load_weights takes and what it refuses."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sides import Array, Arrays, Torch, message_of, small_args

from detr_common.errors import InputError

GOOD = ("float32.pth", "float32.pkl", "float32.safetensors", "float16.pth", "bfloat16.pth", "bfloat16.safetensors",
        "float64.pth", "float64.pkl", "whole.pth", "whole.pkl", "counted.pth")  # fmt: skip
BAD = ("missing.pth", "extra.pkl", "shape.safetensors", "all.pth", "text.pth", "absent.pth")


def snapshot(side: Torch, model: Any) -> Arrays:
    return {name: side.numpy(value).copy() for name, value in side.state(model).items()}


def same(a: Arrays, b: Arrays) -> bool:
    return list(a) == list(b) and all(a[n].dtype == b[n].dtype and np.array_equal(a[n], b[n]) for n in a)


def observe(side: Torch, inputs: Mapping[str, Array]) -> Arrays:
    folder = Path(str(inputs["folder"]))
    load = side.module("checkpoint").load_weights
    result: dict[str, Any] = {}
    for dtype in ("float32", "float64"):
        model = side.module("detr").build_model(small_args(dtype=dtype))[0]
        trained = [name for name, value in side.state(model).items() if side.takes_gradient(value)]
        for file in GOOD if dtype == "float32" else ("float64.pth", "float32.pkl"):
            load(model, folder / file)
            for name, value in snapshot(side, model).items():
                result[f"{dtype}/{file}/{name}"] = value
            after = [name for name, value in side.state(model).items() if side.takes_gradient(value)]
            result[f"frozen/{dtype}/{file}"] = np.array(after == trained)
        before = snapshot(side, model)
        for file in BAD:
            result[f"error/{dtype}/{file}"] = message_of(partial(load, model, folder / file), InputError)
            result[f"unchanged/{dtype}/{file}"] = np.array(same(before, snapshot(side, model)))
    result |= gradients(side, folder, load)
    return result


def gradients(side: Torch, folder: Path, load: Any) -> Arrays:
    """Gradients of a loss after loading, by name; an entry for every one that is trained."""
    model = side.module("detr").build_model(small_args(dtype="float64"))[0]
    load(model, folder / "float64.pth")
    out = model([side.array(image) for image in images()])
    levels = [out, *out["aux_outputs"]]
    loss = sum((level["pred_logits"] ** 2).sum() + (level["pred_boxes"] ** 2).sum() for level in levels)
    trained = {name: value for name, value in side.state(model).items() if side.takes_gradient(value)}
    return {
        f"gradient/{name}": gradient
        for name, gradient in zip(trained, side.gradients(loss, list(trained.values())), strict=True)
    }


def images() -> list[Array]:
    """Two images of unequal size, float32."""
    rng = np.random.default_rng(11)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in ((3, 96, 64), (3, 64, 96))]
