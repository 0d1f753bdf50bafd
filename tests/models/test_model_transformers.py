"""detr_pt against the DETR of Hugging Face's transformers, given the same weights.

Both compute sine positions in the dtype of the model, so neither is handed the other's. Their ``auxiliary_loss`` stays
off: with it their decoder passes each layer's normalised output on to the next layer and norms the last one twice,
unlike the published detector, so the outputs of earlier layers are taken from their layers themselves.
"""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from sides import Arrays, small_args

import detr_pt
import fixtures
from detr_common.options import default_args
from parity.frameworks.torch_settings import without_drawing

CASES = {
    "r50": default_args(dtype="float64"),
    "r18-learned": small_args(dtype="float64", position_embedding="learned", dataset_file="coco_panoptic"),
}

# What remains of a published name becomes what stands beside it; the first that matches wins.
RENAMES = (
    (r"bbox_attention\.(q|k)_linear\.", r"bbox_attention.\1_proj."),
    (r"mask_head\.lay([12])\.", r"mask_head.conv\1.conv."),
    (r"mask_head\.gn([12])\.", r"mask_head.conv\1.norm."),
    (r"mask_head\.lay([345])\.", r"mask_head.fpn_stages.{\1}.refine.conv."),
    (r"mask_head\.gn([345])\.", r"mask_head.fpn_stages.{\1}.refine.norm."),
    (r"mask_head\.adapter([123])\.", r"mask_head.fpn_stages.{+\1}.fpn_adapter."),
    (r"mask_head\.out_lay\.", "mask_head.output_conv."),
    (r"backbone\.0\.body\.conv1\.", "model.backbone.model.embedder.embedder.convolution."),
    (r"backbone\.0\.body\.bn1\.", "model.backbone.model.embedder.embedder.normalization."),
    (r"backbone\.1\.(row|col)_embed\.weight", r"model.position_embedding.{\1}_embeddings.weight"),
    (r"transformer\.(encoder|decoder)\.norm\.", r"model.\1.layernorm."),
    (r"transformer\.(encoder|decoder)\.layers\.", r"model.\1.layers."),
    (r"query_embed\.", "model.query_position_embeddings."),
    (r"input_proj\.", "model.input_projection."),
    (r"class_embed\.", "class_labels_classifier."),
    (r"bbox_embed\.", "bbox_predictor."),
)
LAYER_RENAMES = {
    "encoder": {
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
        "norm1": "self_attn_layer_norm",
        "norm2": "final_layer_norm",
    },
    "decoder": {
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
        "norm1": "self_attn_layer_norm",
        "norm2": "encoder_attn_layer_norm",
        "norm3": "final_layer_norm",
        "multihead_attn": "encoder_attn",
    },
}


def theirs(name: str) -> str:
    """Their name for a published one; a packed projection keeps its last part."""
    if name.startswith("detr."):
        return "detr." + theirs(name.removeprefix("detr."))
    stage = re.fullmatch(r"backbone\.0\.body\.layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)", name)
    if stage:
        number, block, kind, index, part = stage.groups()
        place = "shortcut" if kind == "downsample." else f"layer.{int(index) - 1}"
        convolution = kind == "conv" or (kind == "downsample." and index == "0")
        layer = "convolution" if convolution else "normalization"
        return f"model.backbone.model.encoder.stages.{int(number) - 1}.layers.{block}.{place}.{layer}.{part}"
    pattern, replacement = next(rename for rename in RENAMES if re.match(rename[0], name))
    renamed = re.sub(pattern, replacement, name).replace("{row}", "row").replace("{col}", "column")
    # Stages of the pyramid are counted from 0: the third layer and the first adapter belong to the first.
    renamed = re.sub(r"\{(\d)\}", lambda found: str(int(found[1]) - 3), renamed)
    renamed = re.sub(r"\{\+(\d)\}", lambda found: str(int(found[1]) - 1), renamed)
    layer = re.fullmatch(r"model\.(encoder|decoder)\.layers\.(\d+)\.(\w+)\.(.+)", renamed)
    if layer is None:
        return renamed
    half, index, child, part = layer.groups()
    child = LAYER_RENAMES[half].get(child, child)
    return f"model.{half}.layers.{index}.{child}.{part.replace('out_proj', 'o_proj')}"


def for_transformers(state: Arrays) -> dict[str, torch.Tensor]:
    """The same weights under their names, the packed projections split into three."""
    result = {}
    for name, value in state.items():
        packed = re.fullmatch(r"(.+\.)in_proj_(weight|bias)", theirs(name))
        if packed is None:
            result[theirs(name)] = torch.from_numpy(value)
            continue
        for part, rows in zip("qkv", np.split(value, 3), strict=True):
            result[f"{packed[1]}{part}_proj.{packed[2]}"] = torch.from_numpy(rows.copy())
    return result


def build_theirs(args: Any, state: Arrays) -> Any:
    """Their model from its configuration alone, in evaluation mode."""
    from transformers import DetrConfig, DetrForObjectDetection, DetrForSegmentation, ResNetConfig

    basic = args.backbone == "resnet18"
    backbone = ResNetConfig(
        layer_type="basic" if basic else "bottleneck",
        depths=[2, 2, 2, 2] if basic else [3, 4, 6, 3],
        hidden_sizes=[64, 128, 256, 512] if basic else [256, 512, 1024, 2048],
        embedding_size=64,
        out_features=[f"stage{number}" for number in ((1, 2, 3, 4) if args.masks else (4,))],
    )
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone_config=backbone,
        num_labels={"coco": 91, "coco_panoptic": 250}[args.dataset_file],
        num_queries=args.num_queries,
        d_model=args.hidden_dim,
        encoder_layers=args.enc_layers,
        decoder_layers=args.dec_layers,
        encoder_attention_heads=args.nheads,
        decoder_attention_heads=args.nheads,
        encoder_ffn_dim=args.dim_feedforward,
        decoder_ffn_dim=args.dim_feedforward,
        position_embedding_type=args.position_embedding,
        attn_implementation="eager",
    )
    with without_drawing():
        model = (DetrForSegmentation if args.masks else DetrForObjectDetection)(config).double().eval()
    model.load_state_dict(for_transformers(state))
    return model


@pytest.fixture(scope="module", params=CASES)
def pair(request: pytest.FixtureRequest) -> tuple[detr_pt.DETR, Any]:
    return both(CASES[request.param])


def both(args: Any) -> Any:
    """Ours and theirs with the same weights."""
    state = {name: value.astype(np.float64) for name, value in fixtures.state_dict(args).items()}
    with without_drawing():
        model, _, _ = detr_pt.build_model(args)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return model.eval(), build_theirs(args, state)


def run_both(
    pair: tuple[detr_pt.DETR, Any], images: list[torch.Tensor]
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], list[tuple[torch.Tensor, torch.Tensor]]]:
    """Logits and boxes of every decoder layer, the last one last, of ours and of theirs."""
    ours, other = pair
    batch = detr_pt.nested_tensor_from_tensor_list(images)
    layers: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _module, _inputs, output: layers.append(output))
        for layer in other.model.decoder.layers
    ]
    with torch.no_grad():
        mine = ours(batch)
        last = other(pixel_values=batch.tensors.double(), pixel_mask=(~batch.mask).long())
        normed = [other.model.decoder.layernorm(layer) for layer in layers[:-1]]
        earlier = [(other.class_labels_classifier(x), other.bbox_predictor(x).sigmoid()) for x in normed]
    for hook in hooks:
        hook.remove()
    levels = [*mine["aux_outputs"], mine]
    return [(level["pred_logits"], level["pred_boxes"]) for level in levels], [*earlier, (last.logits, last.pred_boxes)]


@pytest.mark.parametrize("which", [(0,), (1, 0)], ids=["one", "padded"])
def test_logits_and_boxes_equal_transformers(pair: Any, which: tuple[int, ...]) -> None:
    photographs = fixtures.batch(128)
    mine, others = run_both(pair, [torch.from_numpy(photographs[i]) for i in which])
    assert len(mine) == len(others) == len(pair[1].model.decoder.layers)
    for kind in (0, 1):
        errors = [float((a[kind] - b[kind]).abs().max()) for a, b in zip(mine, others, strict=True)]
        print(f"{('logits', 'boxes')[kind]}: largest difference of each decoder layer {errors}")
        assert max(errors) <= 1e-9, f"largest difference of each decoder layer: {errors}"
    assert mine[-1][0].abs().max() > 1, "logits near zero would agree too easily"


def test_a_fault_is_seen(pair: Any) -> None:
    ours, _ = pair
    images = [torch.from_numpy(image) for image in fixtures.batch(96)]
    weight = ours.transformer.decoder.layers[-1].multihead_attn.in_proj_bias
    old = weight.detach().clone()
    with torch.no_grad():
        weight[-1] += 1e-6
        mine, others = run_both(pair, images)
        weight.copy_(old)
    assert float((mine[-1][0] - others[-1][0]).abs().max()) > 1e-9


MASKS = {
    "r50": default_args(dtype="float64", masks=True, num_queries=7, enc_layers=1, dec_layers=2),
    "r18": small_args(dtype="float64", masks=True, hidden_dim=128, nheads=8),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("which", [(0,), (1, 0)], ids=["one", "padded"])
def test_masks_equal_transformers(name: str, which: tuple[int, ...]) -> None:
    ours, other = both(MASKS[name])
    batch = detr_pt.nested_tensor_from_tensor_list([torch.from_numpy(fixtures.batch(128)[i]) for i in which])
    with torch.no_grad():
        mine = ours(batch)
        last = other(pixel_values=batch.tensors.double(), pixel_mask=(~batch.mask).long())
    assert mine["pred_masks"].shape[2:] == tuple(math.ceil(side / 4) for side in batch.tensors.shape[2:])
    for key, wanted in (("pred_logits", last.logits), ("pred_boxes", last.pred_boxes), ("pred_masks", last.pred_masks)):
        error = float((mine[key] - wanted).abs().max())
        print(f"{key}: largest difference {error}")
        assert error <= 1e-9, key
        assert mine[key].std() > 0.01, "what is all alike would agree too easily"
