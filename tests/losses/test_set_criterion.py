"""The criteria of both packages agree: every loss, every match, every gradient."""

from collections.abc import Callable

import numpy as np
import pytest
from observe_criterion import CASES, CLASSES, LAYERS, QUERIES, case, known_boxes
from sides import Array, Arrays

PACKAGES = ("torch", "jittor")
NAMES = ("loss_ce", "class_error", "loss_bbox", "loss_giou", "cardinality_error")


@pytest.fixture(scope="module")
def observed(observe_loss: Callable[..., dict[str, Arrays]]) -> dict[str, Arrays]:
    return observe_loss("observe_criterion")


@pytest.fixture(scope="module")
def observed_long(observe_loss: Callable[..., dict[str, Arrays]]) -> dict[str, Arrays]:
    return observe_loss("observe_criterion_long")


def group(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def worst(first: Arrays, second: Arrays, floor: float) -> float:
    """The largest difference of two groups, each in terms of the largest value of its array, or of the floor."""
    assert first.keys() == second.keys() and first
    return max(
        float(np.abs(value - second[name]).max(initial=0) / max(floor, np.abs(value).max(initial=0)))
        for name, value in first.items()
    )


@pytest.mark.parametrize("name", [*(f"float64/{name}" for name in CASES), "odd/mixed", "odd/crowded"])
def test_losses_matches_and_gradients_are_equal_in_float64(observed: dict[str, Arrays], name: str) -> None:
    first, second = (observed[package] for package in PACKAGES)
    for part, floor, bound in (("loss", 1.0, 1e-14), ("grad", 1e-3, 1e-13), ("match", 1.0, 0)):
        mine, theirs = (group(side, f"{name}/{part}/") for side in (first, second))
        assert all(value.dtype == theirs[key].dtype for key, value in mine.items())
        assert all(value.shape == theirs[key].shape for key, value in mine.items())
        error = worst(mine, theirs, floor)
        assert error <= bound, f"{part}: {error:.1e}"
    assert abs(first[f"{name}/total"] - second[f"{name}/total"]) <= 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixed", "crowded"])
def test_float32_is_as_near_the_truth_as_torch(observed_long: dict[str, Arrays], name: str) -> None:
    truth = observed_long["torch"]
    for part, floor in (("match", 0.0), ("loss", 1.0), ("grad", 1e-3)):
        exact = group(truth, f"float64/{name}/{part}/")
        mine, theirs = (group(observed_long[p], f"float32/{name}/{part}/") for p in ("jittor", "torch"))
        assert mine.keys() == exact.keys()
        for key, value in exact.items():
            scale = max(floor, float(np.abs(value).max(initial=0)))
            errors = [float(np.abs(side[key] - value).max(initial=0)) for side in (mine, theirs)]
            assert errors[0] <= 2 * max(errors[1], 4 * np.finfo(np.float32).eps * scale), f"{part} {key}: {errors}"


def test_names_and_total(observed: dict[str, Arrays]) -> None:
    earlier = [f"{name}_{i}" for i in range(LAYERS - 1) for name in NAMES if name != "class_error"]
    weights = {"loss_ce": 1.0, "loss_bbox": 5, "loss_giou": 2}
    for package in PACKAGES:
        side = observed[package]
        for name in CASES:
            found = group(side, f"float64/{name}/loss/")
            assert str(side[f"float64/{name}/names"]).split() == [*NAMES, *earlier]
            total = sum(found[f"{k}{end}"] * w for end in ("", "_0", "_1") for k, w in weights.items())
            assert abs(total - side[f"float64/{name}/total"]) <= 1e-13 * total


def iou_pair(a: Array, b: Array) -> float:
    """Generalized IoU of two boxes (cx, cy, w, h), the plain way."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    xs, ys = (sorted([c - s / 2, c + s / 2] for c, s in p) for p in (((ax, aw), (bx, bw)), ((ay, ah), (by, bh))))
    width, height = (max(0.0, min(p[0][1], p[1][1]) - max(p[0][0], p[1][0])) for p in (xs, ys))
    union = aw * ah + bw * bh - width * height
    hull = np.prod([max(p[0][1], p[1][1]) - min(p[0][0], p[1][0]) for p in (xs, ys)])
    return float(width * height / union - (hull - union) / hull)


@pytest.mark.parametrize("name", ["mixed", "crowded", "single"])
def test_losses_are_those_of_the_paper(observed: dict[str, Arrays], name: str) -> None:
    """Each loss of the last layer and the matches, worked out with loops."""
    logits, boxes, targets = (values[-1] if i < 2 else values for i, values in enumerate(case(name)))
    assert isinstance(targets, list)
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    numerator = denominator = l1 = giou = wrong = cardinality = 0.0
    pairs = 0
    for image, target in enumerate(targets):
        queries, chosen = (observed["torch"][f"float64/{name}/match/{LAYERS - 1}/{image}/{k}"] for k in "qt")
        queries, chosen = np.atleast_1d(queries), np.atleast_1d(chosen)
        assert len(queries) == len(set(queries)) == len(set(chosen)) == min(QUERIES, len(target["labels"]))
        wanted = np.full(QUERIES, CLASSES)
        wanted[queries] = target["labels"][chosen]
        for query in range(QUERIES):
            weight = 0.1 if wanted[query] == CLASSES else 1.0
            numerator -= weight * log[image, query, wanted[query]]
            denominator += weight
        for query, index in zip(queries, chosen, strict=True):
            l1 += np.abs(boxes[image, query] - target["boxes"][index]).sum()
            giou += 1 - iou_pair(boxes[image, query], target["boxes"][index])
            wrong += logits[image, query].argmax() != target["labels"][index]
            pairs += 1
        cardinality += abs((logits[image].argmax(-1) != CLASSES).sum() - len(target["labels"]))
    count = sum(len(target["labels"]) for target in targets)
    expected = (numerator / denominator, 100 * wrong / pairs, l1 / count, giou / count, cardinality / len(targets))
    for package in PACKAGES:
        for key, value in zip(NAMES, expected, strict=True):
            got = float(observed[package][f"float64/{name}/loss/{key}"])
            assert abs(got - value) <= 1e-12 * max(1, value), (package, key, got, value)


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_there(observed: dict[str, Arrays], package: str) -> None:
    found = group(observed[package], "float64/empty/loss/")
    assert found["loss_bbox"] == found["loss_giou"] == 0 and found["class_error"] == 100
    assert found["cardinality_error"] > 0 and found["loss_ce"] > 0
    gradients = group(observed[package], "float64/empty/grad/")
    assert all(np.abs(gradients[str(i)]).max() > 0 for i in range(LAYERS))
    assert all((gradients[str(LAYERS + i)] == 0).all() for i in range(LAYERS))


@pytest.mark.parametrize("package", PACKAGES)
def test_matches_cost_least(observed: dict[str, Arrays], package: str) -> None:
    """No other assignment of three objects to seven queries is cheaper."""
    from itertools import permutations

    logits, boxes, targets = case("mixed")
    target = targets[2]
    probability = np.exp(logits[0][2]) / np.exp(logits[0][2]).sum(-1, keepdims=True)

    def cost(query: int, index: int) -> float:
        distance = np.abs(boxes[0][2, query] - target["boxes"][index]).sum()
        overlap = iou_pair(boxes[0][2, query], target["boxes"][index])
        return float(5 * distance - probability[query, target["labels"][index]] - 2 * overlap)

    table = np.array([[cost(query, index) for index in range(3)] for query in range(QUERIES)])
    best = min(permutations(range(QUERIES), 3), key=lambda chosen: table[list(chosen), range(3)].sum())
    queries, chosen = (observed[package][f"float64/mixed/match/0/2/{k}"] for k in "qt")
    assert queries.dtype == chosen.dtype == np.int64
    assert {int(t): int(q) for q, t in zip(queries, chosen, strict=True)} == dict(enumerate(best))
    assert list(queries) == sorted(queries)


@pytest.mark.parametrize("package", PACKAGES)
def test_parts_and_weights(observed: dict[str, Arrays], package: str) -> None:
    side, other = observed[package], observed["torch"]
    for name in ("cardinality/cardinality_error", "boxes/loss_bbox", "boxes/loss_giou", "labels/loss_ce"):
        assert abs(side[f"parts/{name}"] - other[f"parts/{name}"]) <= 1e-14
        assert np.isfinite(side[f"parts/{name}"])
    for dtype in ("float32", "float64"):
        weight = side[f"parts/weight/{dtype}"]
        assert weight.dtype == dtype and (weight[:-1] == 1).all() and weight[-1] == np.array(0.1, dtype)
        assert str(side[f"parts/weights/{dtype}"]) == str(other[f"parts/weights/{dtype}"])
    assert str(side["parts/weights/float64"]) == "{'loss_ce': 1.0, 'loss_bbox': 5, 'loss_giou': 2}"
    assert len(str(side["parts/weights/float32"]).split(",")) == 18


@pytest.mark.parametrize("package", PACKAGES)
def test_number_of_boxes_is_averaged_over_processes(observed: dict[str, Arrays], package: str) -> None:
    found = {name: float(observed[package][f"processes/{name}"]) for name in ("alone", "none", "three", "few")}
    assert found == {"alone": 4.0, "none": 1.0, "three": 7 / 3, "few": 1.0}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("package", PACKAGES)
def test_generalized_iou(observed: dict[str, Arrays], package: str, dtype: str) -> None:
    side = group(observed[package], f"overlap/{dtype}/")
    np.testing.assert_allclose(side["paired"], known_boxes()[2], rtol=0, atol=2 * np.finfo(dtype).eps)
    assert side["paired"].dtype == side["table"].dtype == dtype
    if dtype == "float64":
        assert np.array_equal(side["table"].diagonal(), side["paired"])
    for index in range(2):
        theirs = observed["torch"][f"overlap/{dtype}/grad{index}"]
        assert np.isfinite(side[f"grad{index}"]).all()
        np.testing.assert_allclose(side[f"grad{index}"], theirs, rtol=0, atol=4 * np.finfo(dtype).eps)
    assert list(observed[package]["overlap/none"]) == [0, 3]


@pytest.mark.slow
def test_learning_is_the_same_and_keeps_nothing(observed_long: dict[str, Arrays]) -> None:
    mine, theirs = (observed_long[package]["learning/totals"] for package in reversed(PACKAGES))
    assert theirs[-1] < theirs[0] / 3
    np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    alive = observed_long["jittor"]["learning/alive"]
    assert (alive[10:] == alive[10]).all() and (alive > 0).all(), alive
