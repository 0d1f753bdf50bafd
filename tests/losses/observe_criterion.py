"""The criterion on generated predictions and targets, and what it refuses."""

from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
from sides import Array, Arrays, Torch, message_of

from detr_common.options import default_args

QUERIES, CLASSES, LAYERS = 7, 91, 3
CASES = {"mixed": (2, 0, 3), "empty": (0, 0, 0), "single": (1,), "crowded": (9, 1, 7), "tied": (3, 4)}
# None of them is a float32 number.
ODD = {
    "set_cost_class": 1.1,
    "set_cost_bbox": 4.7,
    "set_cost_giou": 2.3,
    "bbox_loss_coef": 4.9,
    "giou_loss_coef": 1.7,
    "eos_coef": 0.3,
}


def random_boxes(rng: np.random.Generator, *shape: int) -> Array:
    return np.concatenate([rng.random((*shape, 2)), 0.02 + 0.5 * rng.random((*shape, 2))], axis=-1)


def case(name: str) -> tuple[list[Array], list[Array], list[dict[str, Array]]]:
    """Logits and boxes of each decoder layer, and targets."""
    counts = CASES[name]
    rng = np.random.default_rng([7, *name.encode()])
    logits = [2 * rng.standard_normal((len(counts), QUERIES, CLASSES + 1)) for _ in range(LAYERS)]
    boxes = [random_boxes(rng, len(counts), QUERIES) for _ in range(LAYERS)]
    targets = [{"labels": rng.integers(0, CLASSES, n), "boxes": random_boxes(rng, n)} for n in counts]
    if name == "tied":
        for layer in range(LAYERS):
            # In eighths, so that whatever is computed of them is exact: hits, shared corners, boxes that touch.
            boxes[layer][0] = [[0.5, 0.5, 0.25, 0.25]] * QUERIES
            logits[layer][0] = 0
            boxes[layer][1, :3] = [[0.25, 0.5, 0.25, 0.25], [0.5, 0.5, 0.25, 0.25], [0.5, 0.25, 0.25, 0.5]]
        targets[0]["boxes"][:] = [0.5, 0.5, 0.25, 0.25]
        targets[0]["labels"][:] = 4
        targets[1]["boxes"][:2] = [[0.25, 0.5, 0.25, 0.25], [0.75, 0.5, 0.25, 0.25]]
        targets[1]["boxes"][2] = [0.5, 0.375, 0.25, 0.25]
    return logits, boxes, targets


def outputs_of(logits: Sequence[Any], boxes: Sequence[Any]) -> dict[str, Any]:
    """As the model returns them: the last layer, and the earlier ones beside it."""
    layers = [{"pred_logits": k, "pred_boxes": b} for k, b in zip(logits, boxes, strict=True)]
    return layers[-1] | {"aux_outputs": layers[:-1]}


def targets_of(side: Torch, targets: Sequence[Mapping[str, Array]], dtype: str = "float64") -> list[dict[str, Any]]:
    return [{"labels": side.array(t["labels"]), "boxes": side.array(t["boxes"].astype(dtype))} for t in targets]


def observe(side: Torch, _inputs: Mapping[str, Array]) -> Arrays:
    result: dict[str, Any] = {}
    for name in CASES:
        result |= {f"float64/{name}/{key}": value for key, value in losses_of(side, name, "float64").items()}
    for name in ("mixed", "crowded"):
        result |= {f"odd/{name}/{key}": value for key, value in losses_of(side, name, "float64", **ODD).items()}
    return result | parts(side) | processes(side) | overlaps(side) | refused(side)


def losses_of(side: Torch, name: str, dtype: str, **changes: float) -> Arrays:
    """Every loss, the total, its gradients, and the matches of each layer."""
    module = side.module("criterion")
    criterion = module.build_criterion(default_args(dec_layers=LAYERS, dtype=dtype, **changes))
    logits, boxes, targets = case(name)
    leaves = [side.leaf(value.astype(dtype)) for value in (*logits, *boxes)]
    outputs = outputs_of(leaves[:LAYERS], leaves[LAYERS:])
    wanted = targets_of(side, targets, dtype)
    losses = criterion(outputs, wanted)
    total = module.total_loss(losses, criterion.weight_dict)
    result = {"names": np.array(" ".join(losses)), "total": side.numpy(total)}
    result |= {f"loss/{key}": side.numpy(value) for key, value in losses.items()}
    for layer in range(LAYERS):
        at = {"pred_logits": leaves[layer], "pred_boxes": leaves[LAYERS + layer]}
        for image, pair in enumerate(criterion.matcher(at, wanted)):
            result |= {f"match/{layer}/{image}/{k}": side.numpy(v) for k, v in zip("qt", pair, strict=True)}
    for index, gradient in enumerate(side.gradients(total, leaves)):
        result[f"grad/{index}"] = gradient
    return {key: np.array(value.reshape(()) if value.size == 1 else value) for key, value in result.items()}


def parts(side: Torch) -> Arrays:
    """A criterion of some losses only, without earlier layers; its buffer; float32 targets of a float64 model."""
    module = side.module("criterion")
    logits, boxes, targets = case("mixed")
    outputs = {"pred_logits": side.array(logits[0]), "pred_boxes": side.array(boxes[0])}
    matcher = side.module("matcher").HungarianMatcher(1, 5, 2)
    result: dict[str, Any] = {}
    for losses in (["cardinality"], ["boxes"], ["labels"]):
        criterion = module.SetCriterion(CLASSES, matcher, {}, 0.1, losses)
        found = criterion(outputs, targets_of(side, targets, "float32"))
        result |= {f"parts/{losses[0]}/{name}": side.numpy(value).reshape(()) for name, value in found.items()}
    for dtype in ("float32", "float64"):
        criterion = module.build_criterion(default_args(dtype=dtype, aux_loss=dtype == "float32"))
        state = side.state(criterion)
        assert list(state) == ["empty_weight"] and not side.takes_gradient(state["empty_weight"])
        result[f"parts/weight/{dtype}"] = side.numpy(state["empty_weight"])
        result[f"parts/weights/{dtype}"] = np.array(repr(criterion.weight_dict))
    return result


def processes(side: Torch) -> Arrays:
    """The number of boxes where three processes have seven together, or none."""
    module = side.module("criterion")
    like = side.array(np.zeros(1))
    result = {
        "processes/alone": module.count_over_processes(4, like, True),
        "processes/none": module.count_over_processes(0, like, True),
    }
    for name, count, everywhere in (("three", 4, 7), ("few", 1, 1)):
        if side.name == "torch":
            import torch.distributed as dist

            def all_reduce(total: Any, count: int = count, everywhere: int = everywhere) -> None:
                assert total.item() == count
                total.fill_(everywhere)

            faked = {"is_initialized": lambda: True, "get_world_size": lambda: 3, "all_reduce": all_reduce}
            patch = mock.patch.multiple(dist, **faked)
        else:
            import jittor as jt

            def mpi_all_reduce(var: Any, op: str, count: int = count, everywhere: int = everywhere) -> Any:
                assert var.item() == count and op == "add"
                return jt.array([everywhere])

            # Jittor has this method on its Vars only where there is MPI.
            patch = mock.patch.multiple(jt, in_mpi=True, world_size=3)
            jt.Var.mpi_all_reduce = mpi_all_reduce
        with patch:
            result[f"processes/evaluating {name}"] = module.count_over_processes(count, like, False)
            result[f"processes/{name}"] = module.count_over_processes(count, like, True)
    return {key: np.array(value) for key, value in result.items()}


def overlaps(side: Torch) -> Arrays:
    """Generalized IoU of pairs whose value is known, with gradients; pairs against the whole table."""
    module = side.module("box_ops")
    result: dict[str, Any] = {}
    for dtype in ("float32", "float64"):
        first, second = (side.leaf(values.astype(dtype)) for values in known_boxes()[:2])
        paired = module.paired_generalized_box_iou(first, second)
        table = module.generalized_box_iou(first, second)
        result |= {
            f"overlap/{dtype}/paired": side.numpy(paired).copy(),
            f"overlap/{dtype}/table": side.numpy(table).copy(),
        }
        for index, gradient in enumerate(side.gradients(paired.sum(), [first, second])):
            result[f"overlap/{dtype}/grad{index}"] = gradient
    empty = side.array(np.zeros((0, 4)))
    result["overlap/none"] = np.array(list(module.generalized_box_iou(empty, side.array(np.ones((3, 4)))).shape))
    for name, bad in {"order": [0, 0, -1, 1], "nan": [0, 0, np.nan, 1]}.items():
        box = side.array(np.array([[0.0, 0, 1, 1], bad]))
        for place, (left, right) in {"boxes1": (box, empty), "boxes2": (empty, box)}.items():
            result[f"overlap/{name}/{place}"] = message_of(
                lambda left=left, right=right: module.generalized_box_iou(left, right), ValueError
            )
    return result


def known_boxes() -> tuple[Array, Array, Array]:
    """Two sets of boxes (x0, y0, x1, y1) and the generalized IoU of each pair, worked out by hand."""
    rows = [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7 - 2 / 9),
        ([0, 0, 1, 1], [1, 0, 2, 1], 0),  # they touch
        ([0, 0, 1, 1], [2, 0, 3, 1], -1 / 3),
        ([0, 0, 4, 4], [1, 1, 2, 2], 1 / 16),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0),  # two points, the same
        ([0, 0, 0, 0], [1, 1, 1, 1], -1),  # two points
        ([0, 0, 1, 0], [2, 0, 3, 0], 0),  # on one line
        ([1, 1, 1, 1], [0, 0, 2, 2], 0),  # a point in a box
        ([0, 0, 1, 1], [0, 0, 1, 2], 1 / 2),
    ]
    first, second, values = zip(*rows, strict=True)
    return np.array(first, float), np.array(second, float), np.array(values, float)


def refused(side: Torch) -> Arrays:
    """What each wrong input is answered with, by the criterion and by the matcher alone."""
    module = side.module("criterion")
    criterion = module.build_criterion(default_args(dec_layers=LAYERS, dtype="float64"))
    logits, boxes, targets = case("mixed")
    result: dict[str, Any] = {}

    def tried(
        name: str, logits: Sequence[Array], boxes: Sequence[Array], targets: Sequence[Mapping[str, Array]]
    ) -> None:
        outputs = outputs_of([side.array(v) for v in logits], [side.array(v) for v in boxes])
        given = [{key: side.array(value) for key, value in target.items()} for target in targets]
        for who, of in (("criterion", criterion), ("matcher", criterion.matcher)):
            result[f"refused/{who}/{name}"] = message_of(lambda of=of: of(outputs, given), ValueError)

    def changed(image: int, key: str, value: Array) -> list[dict[str, Array]]:
        return [target | {key: value} if i == image else target for i, target in enumerate(targets)]

    def box(entry: int, value: float) -> list[dict[str, Array]]:
        values = targets[2]["boxes"].copy()
        values[1, entry] = value
        return changed(2, "boxes", values)

    tried("nothing", logits, boxes, targets)
    tried("too-few", logits, boxes, targets[:2])
    tried("label-high", logits, boxes, changed(2, "labels", np.array([0, 90, 91])))
    tried("label-negative", logits, boxes, changed(0, "labels", np.array([5, -1])))
    tried("label-float", logits, boxes, changed(0, "labels", np.array([5.0, 1.0])))
    tried("lengths", logits, boxes, changed(0, "labels", np.array([5])))
    tried("flat", logits, boxes, changed(1, "boxes", np.zeros(0)))
    tried("integers", logits, boxes, changed(0, "boxes", np.ones((2, 4), np.int32)))
    tried("no-labels", logits, boxes, [targets[0], {"boxes": targets[1]["boxes"]}, targets[2]])
    tried("nan", logits, boxes, box(0, np.nan))
    tried("infinite", logits, boxes, box(2, np.inf))
    tried("zero", logits, boxes, box(2, 0))
    tried("negative", logits, boxes, box(3, -0.1))
    for name, index, value in (("nan", (1, 3, 7), np.nan), ("infinite", (0, 6, 91), -np.inf)):
        wrong = [*logits[:-1], logits[-1].copy()]
        wrong[-1][index] = value
        tried(f"logits-{name}", wrong, boxes, targets)
    for name, value in (("nan", np.nan), ("negative", -0.5), ("huge", 1e200)):
        wrong = [*boxes[:-1], boxes[-1].copy()]
        wrong[-1][2, 5, 2:] = value
        tried(f"boxes-{name}", logits, wrong, targets)
    earlier = [boxes[0].copy(), *boxes[1:]]
    earlier[0][0, 1, 3] = np.nan
    tried("earlier", logits, earlier, targets)
    tried("classes", [v[..., :50] for v in logits], boxes, targets)
    matcher = side.module("matcher").HungarianMatcher
    result["refused/costs"] = message_of(lambda: matcher(0, 0, 0), ValueError)
    result["refused/losses"] = message_of(
        lambda: module.SetCriterion(CLASSES, criterion.matcher, {}, 0.1, ["labels", "outlines"]), ValueError
    )
    return result


def learning(side: Torch) -> Arrays:
    """Fifty steps on the predictions themselves, and how many Vars are alive on the way."""
    from observe_optimizer import model_of

    module, steps = side.module("optimizer"), side.module("criterion")
    criterion = steps.build_criterion(default_args(aux_loss=False, dtype="float64"))
    logits, boxes, targets = case("mixed")
    model = model_of(side, {"logits": logits[0], "backbone": boxes[0]}, ())
    args = default_args(lr=0.1, lr_backbone=0.01, lr_drop=25)
    optimizer = module.build_optimizer(model, args)
    schedule = module.build_scheduler(optimizer, args)
    wanted = targets_of(side, targets)
    totals, alive = [], []
    for _ in range(50):
        outputs = {"pred_logits": model.logits, "pred_boxes": model.backbone}
        total = steps.total_loss(criterion(outputs, wanted), criterion.weight_dict)
        module.backward(optimizer, total)
        module.clip_grad_norm(optimizer, 0.1)
        optimizer.step()
        schedule.step()
        totals.append(float(side.numpy(total).reshape(())))
        alive.append(living(side))
    return {"learning/totals": np.array(totals), "learning/alive": np.array(alive)}


def living(side: Torch) -> tuple[int, int]:
    """Vars and operations that Jittor holds; nothing in PyTorch."""
    if side.name == "torch":
        return 0, 0
    import jittor as jt

    info = jt.liveness_info()
    return info["lived_vars"], info["lived_ops"]
