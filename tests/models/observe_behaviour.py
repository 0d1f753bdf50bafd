"""The whole detector on every kind of input, wrong options, post-processing and boxes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from observe_loading import images
from sides import Array, Arrays, Torch, message_of, small_args

import fixtures

VARIANTS = {
    "r18": {},
    "learned": {"position_embedding": "learned", "nheads": 8},  # 8 ** -0.5 is no float32 number, 16 ** -0.5 is
    "pre-norm": {"pre_norm": True},
    "r50-dc5": {"backbone": "resnet50", "dilation": True},
}
TIES = np.array([[[1, 1, 0, 5], [0, 2, 2, -1], [3, 3, 3, 3], [-1, -2, 0.5, 0.5], [0, 0, 0, 800.0]]])
TIED_BOXES = np.array([[[0.5, 0.5, 1, 1], [0.25, 0.5, 0.5, 0.2], [0, 0, 0.1, 0.1], [1, 1, 0, 0], [0.3, 0.7, 0.1, 0.4]]])


def built(side: Torch, **changes: object) -> tuple[Any, Any]:
    """A detector with seeded weights in evaluation mode, and its post-processing."""
    args = small_args(**changes)
    model, criterion, postprocessors = side.module("detr").build_model(args)
    assert type(criterion).__name__ == "SetCriterion" and list(postprocessors) == ["bbox"]
    side.set_state(model, {n: v.astype(args.dtype) for n, v in fixtures.state_dict(args).items()})
    side.set_training(model, False)
    return model, postprocessors["bbox"]


def flat(side: Torch, prefix: str, out: Any) -> Arrays:
    """All predictions, "aux_outputs" numbered."""
    assert set(out) <= {"pred_logits", "pred_boxes", "aux_outputs"}
    levels = {"last": out} | {str(i): level for i, level in enumerate(out.get("aux_outputs", []))}
    return {
        f"{prefix}/{level}/{name}": side.numpy(values[f"pred_{name}"]).copy()
        for level, values in levels.items()
        for name in ("logits", "boxes")
    }


def observe(side: Torch, _inputs: Mapping[str, Array]) -> Arrays:
    result: dict[str, Any] = {}
    for variant, changes in VARIANTS.items():
        model, _ = built(side, dtype="float64", **changes)
        result |= flat(side, f"variant/{variant}", model([side.array(image) for image in images()]))
    return result | inputs_of_every_kind(side) | errors(side) | post_processing(side) | boxes(side)


def inputs_of_every_kind(side: Torch) -> Arrays:
    """Lists, tensors and padded batches; float32 and float64; one image and several, in either order."""
    model, post = built(side, dtype="float64")
    nested = side.module("nested_tensor")
    a, b = (side.array(image) for image in images())
    pair = np.stack([images()[0], images()[0][:, ::-1].copy()])
    result: dict[str, Any] = {}
    result |= flat(side, "list", model([a, b]))
    result |= flat(side, "reversed", model([b, a]))
    result |= flat(side, "nested", model(nested.nested_tensor_from_tensor_list([a, b])))
    result |= flat(side, "tensor", model(side.array(pair)))
    result |= flat(side, "tensor-as-list", model([side.array(image) for image in pair]))
    result |= flat(side, "float64", model([side.array(image.astype(np.float64)) for image in images()]))
    result |= flat(side, "one", model([a]))
    result |= flat(side, "one-tensor", model(side.array(images()[0][None])))
    small = [side.array(image[:, :32, :32].copy()) for image in images()]
    result |= flat(side, "one-cell", model(small))
    batch = nested.nested_tensor_from_tensor_list([a, b])
    result["padded/pixels"], result["padded/mask"] = (side.numpy(part) for part in batch.decompose())
    for name, changes in (("no-aux", {"aux_loss": False}), ("float32", {}), ("deep", {"dec_layers": 4})):
        result |= flat(side, name, built(side, **changes)[0]([a, b]))
    detections = post(model([a, b]), side.array(np.array([[96, 64], [64, 96]])))
    result |= {f"detections/{i}/{k}": side.numpy(v) for i, found in enumerate(detections) for k, v in found.items()}
    return result


def errors(side: Torch) -> Arrays:
    """What a wrong use says."""
    nested = side.module("nested_tensor").nested_tensor_from_tensor_list
    build = side.module("detr").build_model
    learned, _ = built(side, position_embedding="learned", dtype="float64")
    _, post = built(side)
    outputs = {"pred_logits": side.array(TIES), "pred_boxes": side.array(TIED_BOXES)}
    wide = side.array(np.zeros((3, 32, 51 * 32), dtype=np.float32))
    widest = side.array(np.zeros((3, 32, 50 * 32), dtype=np.float32))
    actions = {
        "empty batch": partial(nested, []),
        "flat image": partial(nested, [side.array(np.zeros((5, 5), dtype=np.float32))]),
        "learned beyond 50": lambda: learned([wide]),
        "learned at 50": lambda: learned([widest]),
        "dilated r18": partial(build, small_args(dilation=True)),
        "heads": partial(build, small_args(nheads=5)),
        "sizes short": partial(post, outputs, side.array(np.array([[4, 5, 6]]))),
        "sizes many": partial(post, outputs, side.array(np.array([[4, 5], [6, 7]]))),
    }
    return {f"error/{name}": message_of(action, ValueError) for name, action in actions.items()}


def post_processing(side: Torch) -> Arrays:
    """Detections where classes tie and where the size is not square."""
    result = {}
    for dtype in ("float32", "float64"):
        post = side.module("postprocess").PostProcess()
        outputs = {
            "pred_logits": side.array(TIES.astype(dtype)),
            "pred_boxes": side.array(TIED_BOXES.astype(dtype)),
        }
        (found,) = post(outputs, side.array(np.array([[200, 300]])))
        result |= {f"ties/{dtype}/{name}": side.numpy(value) for name, value in found.items()}
    return result


def boxes(side: Torch) -> Arrays:
    """The two conversions, each way and back, on boxes with more than one leading axis."""
    ops = side.module("box_ops")
    given = np.random.default_rng(8).random((2, 7, 4))
    corners = ops.box_cxcywh_to_xyxy(side.array(given))
    return {
        "boxes/given": given,
        "boxes/corners": side.numpy(corners),
        "boxes/back": side.numpy(ops.box_xyxy_to_cxcywh(corners)),
    }
