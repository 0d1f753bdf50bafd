"""The criterion of detr_pt is that of an implementation written by others: Hugging Face transformers' DETR loss."""

import warnings

import numpy as np
import pytest
import torch
from observe_criterion import ODD, outputs_of, random_boxes, targets_of
from sides import Torch
from torch import Tensor

from detr_common.errors import InputError
from detr_common.options import default_args
from detr_pt.criterion import build_criterion, total_loss

LAYERS, QUERIES, CLASSES = 4, 12, 91
# Four images each, so that the mean over images that transformers takes in float32 is exact.
COUNTS = {"mixed": (3, 0, 5, 1), "crowded": (14, 2, 0, 12), "empty": (0, 0, 0, 0)}


def theirs(outputs: dict[str, Tensor], targets: list[dict[str, Tensor]], args: object) -> dict[str, Tensor]:
    """The losses of transformers, by our names."""
    from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

    settings = vars(args)
    matcher = HungarianMatcher(*(settings[f"set_cost_{name}"] for name in ("class", "bbox", "giou")))
    criterion = ImageLoss(matcher, CLASSES, settings["eos_coef"], ["labels", "boxes", "cardinality"]).double()
    criterion.empty_weight[-1] = settings["eos_coef"]  # which it had rounded to float32
    layers = [{"logits": o["pred_logits"], "pred_boxes": o["pred_boxes"]} for o in (outputs, *outputs["aux_outputs"])]
    wanted = [{"class_labels": target["labels"], "boxes": target["boxes"]} for target in targets]
    return criterion(layers[0] | {"auxiliary_outputs": layers[1:]}, wanted)


@pytest.mark.parametrize("changes", [{}, ODD], ids=["default", "odd"])
@pytest.mark.parametrize("name", COUNTS)
def test_every_entry_is_that_of_transformers(name: str, changes: dict[str, float]) -> None:
    rng = np.random.default_rng([11, *name.encode()])
    counts = COUNTS[name]
    args = default_args(dec_layers=LAYERS, dtype="float64", **changes)
    leaves = [torch.tensor(2 * rng.standard_normal((4, QUERIES, CLASSES + 1))) for _ in range(LAYERS)]
    leaves += [torch.tensor(random_boxes(rng, 4, QUERIES)) for _ in range(LAYERS)]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    outputs = outputs_of(leaves[:LAYERS], leaves[LAYERS:])
    targets = targets_of(
        Torch(), [{"labels": rng.integers(0, CLASSES, n), "boxes": random_boxes(rng, n)} for n in counts]
    )
    criterion = build_criterion(args)
    ours = criterion(outputs, targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        other = theirs(outputs, targets, args)
    assert set(ours) - set(other) == {"class_error"} and not set(other) - set(ours)
    assert len(other) == 4 * LAYERS
    for key, value in other.items():
        mine, wanted = (float(one.detach()) for one in (ours[key], value))
        assert abs(mine - wanted) <= 1e-12, f"{key}: {mine} against {wanted}"
    gradients = torch.autograd.grad(total_loss(ours, criterion.weight_dict), leaves, retain_graph=True)
    expected = torch.autograd.grad(total_loss(other, criterion.weight_dict), leaves)
    for gradient, other_gradient in zip(gradients, expected, strict=True):
        assert (gradient - other_gradient).abs().max() <= 1e-14
        assert other_gradient.abs().max() > 0 or not any(counts)


@pytest.mark.parametrize("name", COUNTS)
def test_losses_of_masks_are_those_of_transformers(name: str) -> None:
    from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

    rng = np.random.default_rng([12, *name.encode()])
    args = default_args(dec_layers=1, dtype="float64", masks=True)
    leaf = torch.tensor(4 * rng.standard_normal((4, QUERIES, 9, 11))).requires_grad_()
    logits, boxes = torch.tensor(rng.standard_normal((4, QUERIES, CLASSES + 1))), random_boxes(rng, 4, QUERIES)
    outputs = {"pred_logits": logits, "pred_boxes": torch.tensor(boxes), "pred_masks": leaf}
    targets = targets_of(
        Torch(), [{"labels": rng.integers(0, CLASSES, n), "boxes": random_boxes(rng, n)} for n in COUNTS[name]]
    )
    for target, size in zip(targets, ((35, 44), (20, 50), (36, 30), (8, 8)), strict=True):
        target["masks"] = torch.tensor(rng.random((len(target["labels"]), *size)) < 0.3)
    criterion = build_criterion(args)
    ours = criterion(outputs, targets)
    matcher = HungarianMatcher(args.set_cost_class, args.set_cost_bbox, args.set_cost_giou)
    other = ImageLoss(matcher, CLASSES, args.eos_coef, ["masks"]).double()
    wanted = [{"class_labels": t["labels"], "boxes": t["boxes"], "masks": t["masks"]} for t in targets]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        expected = other({"logits": logits, "pred_boxes": outputs["pred_boxes"], "pred_masks": leaf}, wanted)
    assert set(expected) == {"loss_mask", "loss_dice"} <= set(ours)
    assert criterion.weight_dict["loss_mask"] == criterion.weight_dict["loss_dice"] == 1
    for key, value in expected.items():
        assert abs(float(ours[key].detach() - value.detach())) <= 1e-12, key
        mine, theirs_ = (torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in (ours[key], value))
        assert (mine - theirs_).abs().max() <= 1e-14
        assert theirs_.abs().max() > 0 or not any(COUNTS[name])


def test_targets_without_masks_are_refused() -> None:
    outputs = {
        "pred_logits": torch.zeros(1, QUERIES, CLASSES + 1),
        "pred_boxes": torch.full((1, QUERIES, 4), 0.5),
        "pred_masks": torch.zeros(1, QUERIES, 4, 4),
    }
    criterion = build_criterion(default_args(dec_layers=1, masks=True))
    target = {"labels": torch.tensor([1, 2]), "boxes": torch.full((2, 4), 0.4)}
    with pytest.raises(InputError, match="image 0 has no masks"):
        criterion(outputs, [target])
    with pytest.raises(InputError, match=r"masks \[1, 5, 6\]; for 2 objects they are \[2, H, W\]"):
        criterion(outputs, [target | {"masks": torch.ones(1, 5, 6)}])
