"""A checkpoint with the names of the published panoptic one goes both ways, and both packages take it."""

from pathlib import Path

import numpy as np

import detr_pt
import fixtures
import weight_convert
from detr_common.options import default_args
from weight_convert import cli

# As the published DETR-R50 panoptic has them: the detector, attention maps, and the head with its adapters.
NAMES = (
    "detr.transformer.encoder.layers.0.self_attn.in_proj_weight",
    "detr.class_embed.weight",
    "detr.backbone.0.body.layer4.2.bn3.running_var",
    "bbox_attention.q_linear.weight",
    "bbox_attention.k_linear.bias",
    "mask_head.lay1.weight",
    "mask_head.gn1.weight",
    "mask_head.lay5.bias",
    "mask_head.gn5.bias",
    "mask_head.out_lay.weight",
    "mask_head.adapter1.weight",
    "mask_head.adapter3.bias",
)
SHAPES = {
    "detr.class_embed.weight": (251, 256),
    "mask_head.lay1.weight": (264, 264, 3, 3),
    "mask_head.lay5.weight": (16, 32, 3, 3),
    "mask_head.adapter1.weight": (128, 1024, 1, 1),
    "mask_head.adapter3.weight": (32, 256, 1, 1),
}


def test_panoptic_checkpoint_goes_both_ways(tmp_path: Path) -> None:
    args = default_args(masks=True, dataset_file="coco_panoptic")
    state = fixtures.state_dict(args)
    order = list(state)
    assert [order.index(name) for name in NAMES] == sorted(order.index(name) for name in NAMES)
    assert {name: state[name].shape for name in SHAPES} == SHAPES
    assert all(name.startswith(("detr.", "bbox_attention.", "mask_head.")) for name in order)
    first, there, back = (tmp_path / name for name in ("a.pth", "b.pkl", "c.pth"))
    weight_convert.write({"model": state}, first)
    assert cli.run([str(first), str(there), "--verify"]) == 0 and cli.run([str(there), str(back)]) == 0
    for path in (there, back):
        found = weight_convert.read_state_dict(path)
        assert list(found) == order
        assert all(np.array_equal(found[name], values) for name, values in state.items())
    model, _, postprocessors = detr_pt.build_model(args)
    assert list(model.state_dict()) == order and list(postprocessors) == ["bbox", "segm", "panoptic"]
    detr_pt.load_weights(model, there)
    assert np.array_equal(model.state_dict()["mask_head.lay1.weight"].numpy(), state["mask_head.lay1.weight"])
