"""The parts of detr_pt against PyTorch's own and torchvision's, in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fixtures
from detr_common.options import default_args
from detr_pt.attention import MultiheadAttention
from detr_pt.backbone import build_backbone
from detr_pt.nested_tensor import NestedTensor
from detr_pt.position_encoding import PositionEmbeddingLearned, PositionEmbeddingSine
from detr_pt.resnet import ResNet
from detr_pt.transformer import TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer
from parity.frameworks.torch_settings import without_drawing

BODY = "backbone.0.body."
E, HEADS, WIDE = 32, 4, 48


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape))


def scrambled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter other values, so that no norm is the identity and no bias is zero."""
    with torch.no_grad():
        for index, parameter in enumerate(module.double().parameters()):
            parameter.add_(0.3 * normal(*parameter.shape, seed=seed + index))
    return module.eval()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize(
    ("name", "dilation"),
    [(name, False) for name in ("resnet18", "resnet34", "resnet50", "resnet101")]
    + [(name, True) for name in ("resnet50", "resnet101")],
)
def test_backbone_equals_torchvision(name: str, dilation: bool) -> None:
    import torchvision
    from torchvision.ops import FrozenBatchNorm2d

    state = fixtures.state_dict(default_args(backbone=name, dilation=dilation))
    body = {key.removeprefix(BODY): torch.from_numpy(v).double() for key, v in state.items() if key.startswith(BODY)}
    options = {"replace_stride_with_dilation": [False, False, True]} if dilation else {}
    with without_drawing():
        ours = ResNet(name, dilation).double()
        other = getattr(torchvision.models, name)(norm_layer=FrozenBatchNorm2d, **options).double()
    ours.load_state_dict(body)
    other.load_state_dict(body | {"fc.weight": other.fc.weight, "fc.bias": other.fc.bias})
    assert other.bn1.eps == ours.bn1.eps
    x = torch.from_numpy(fixtures.batch(64)[0])[None, :, :71].double()  # an odd height: borders matter
    with torch.no_grad():
        (mine,) = ours(x)
        stem = other.maxpool(other.relu(other.bn1(other.conv1(x))))
        theirs = other.layer4(other.layer3(other.layer2(other.layer1(stem))))
    assert mine.shape[1] == ours.num_channels[-1]
    error = relative(mine, theirs)
    print(name, dilation, error)
    assert error <= 1e-12, f"relative error {error:.2e}"


def attentions() -> tuple[MultiheadAttention, nn.MultiheadAttention]:
    ours = scrambled(MultiheadAttention(E, HEADS))
    theirs = nn.MultiheadAttention(E, HEADS).double().eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def padding(batch: int, keys: int) -> torch.Tensor:
    mask = torch.zeros(batch, keys, dtype=torch.bool)
    mask[1, keys // 2 :] = True
    mask[2, ::3] = True
    return mask


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("queries", [1, 7])
def test_attention_equals_torch(masked: bool, queries: int) -> None:
    ours, theirs = attentions()
    inputs = [normal(n, 3, E, seed=i).requires_grad_() for i, n in enumerate((queries, 11, 11))]
    mask = padding(3, 11) if masked else None
    mine, other = ours(*inputs, key_padding_mask=mask), theirs(*inputs, key_padding_mask=mask)[0]
    assert relative(mine, other) <= 1e-14
    weights = normal(*mine.shape, seed=5)
    grads = [torch.autograd.grad((out * weights).sum(), [*inputs, *module.parameters()])
             for out, module in ((mine, ours), (other, theirs))]  # fmt: skip
    scale = max(float(g.abs().max()) for g in grads[1])
    assert max(float((a - b).abs().max()) for a, b in zip(*grads, strict=True)) <= 1e-13 * scale


def test_attention_over_padding_alone_is_nan_in_both() -> None:
    ours, theirs = attentions()
    mask = padding(3, 5)
    mask[0] = True
    inputs = [normal(4, 3, E), normal(5, 3, E, seed=1), normal(5, 3, E, seed=2)]
    mine, other = ours(*inputs, key_padding_mask=mask), theirs(*inputs, key_padding_mask=mask)[0]
    assert mine[:, 0].isnan().all() and other[:, 0].isnan().all()
    assert relative(mine[:, 1:], other[:, 1:]) <= 1e-14


def test_attention_drops_weights_in_training_only() -> None:
    attention = MultiheadAttention(E, HEADS, dropout=0.5).double()
    x = normal(6, 2, E)
    assert not torch.equal(attention(x, x, x), attention(x, x, x))
    attention.eval()
    assert torch.equal(attention(x, x, x), attention(x, x, x))


def attend(module: MultiheadAttention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any) -> torch.Tensor:
    """Attention by PyTorch's own function."""
    return F.multi_head_attention_forward(
        q, k, v, E, HEADS, module.in_proj_weight, module.in_proj_bias, None, None, False, 0.0,
        module.out_proj.weight, module.out_proj.bias, training=False, key_padding_mask=mask, need_weights=False,
    )[0]  # fmt: skip


def norm(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, (E,), module.weight, module.bias, 1e-5)


def wide(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    hidden = (x @ layer.linear1.weight.T + layer.linear1.bias).clamp(min=0)
    return hidden @ layer.linear2.weight.T + layer.linear2.bias


def restated_encoder(m: Any, src: torch.Tensor, mask: Any, pos: torch.Tensor) -> torch.Tensor:
    if m.pre_norm:
        x = norm(m.norm1, src)
        src = src + attend(m.self_attn, x + pos, x + pos, x, mask)
        return src + wide(m, norm(m.norm2, src))
    src = norm(m.norm1, src + attend(m.self_attn, src + pos, src + pos, src, mask))
    return norm(m.norm2, src + wide(m, src))


def restated_decoder(m: Any, tgt: Any, memory: Any, mask: Any, pos: Any, query_pos: Any) -> torch.Tensor:
    if m.pre_norm:
        x = norm(m.norm1, tgt)
        tgt = tgt + attend(m.self_attn, x + query_pos, x + query_pos, x, None)
        x = norm(m.norm2, tgt)
        tgt = tgt + attend(m.multihead_attn, x + query_pos, memory + pos, memory, mask)
        return tgt + wide(m, norm(m.norm3, tgt))
    tgt = norm(m.norm1, tgt + attend(m.self_attn, tgt + query_pos, tgt + query_pos, tgt, None))
    tgt = norm(m.norm2, tgt + attend(m.multihead_attn, tgt + query_pos, memory + pos, memory, mask))
    return norm(m.norm3, tgt + wide(m, tgt))


@pytest.mark.parametrize("pre_norm", [False, True])
def test_encoder_equals_its_restatement(pre_norm: bool) -> None:
    layers = [scrambled(TransformerEncoderLayer(E, HEADS, WIDE, 0.1, pre_norm), seed) for seed in (0, 50)]
    last = scrambled(nn.LayerNorm(E), 99) if pre_norm else None
    src, pos, mask = normal(9, 3, E), normal(9, 3, E, seed=1), padding(3, 9)
    expected = src
    for layer in layers:
        one = restated_encoder(layer, expected, mask, pos)
        assert relative(layer(expected, padding=mask, pos=pos), one) <= 1e-14
        expected = one
    expected = expected if last is None else norm(last, expected)
    assert relative(TransformerEncoder(layers, last)(src, padding=mask, pos=pos), expected) <= 1e-13


@pytest.mark.parametrize("pre_norm", [False, True])
def test_decoder_equals_its_restatement(pre_norm: bool) -> None:
    layers = [scrambled(TransformerDecoderLayer(E, HEADS, WIDE, 0.1, pre_norm), seed) for seed in (0, 50)]
    last = scrambled(nn.LayerNorm(E), 99)
    tgt, memory, mask = normal(6, 3, E), normal(9, 3, E, seed=1), padding(3, 9)
    pos, query_pos = normal(9, 3, E, seed=2), normal(6, 3, E, seed=3)
    outputs, expected = [], tgt
    for layer in layers:
        one = restated_decoder(layer, expected, memory, mask, pos, query_pos)
        assert relative(layer(expected, memory, padding=mask, pos=pos, query_pos=query_pos), one) <= 1e-14
        expected = one
        outputs.append(norm(last, one))  # the shared norm is not fed on to the next layer
    decoder = TransformerDecoder(layers, last)
    assert relative(decoder(tgt, memory, padding=mask, pos=pos, query_pos=query_pos), torch.stack(outputs)) <= 1e-13


def sine_by_formula(mask: np.ndarray, features: int) -> np.ndarray:
    """Appendix A.4 pixel by pixel: the position counts valid pixels from 1, the last one is at 2 pi."""
    batch, height, width = mask.shape
    result = np.zeros((batch, 2 * features, height, width))
    for b, y, x in np.ndindex(batch, height, width):
        rows, columns = ~mask[b, :, x], ~mask[b, y, :]
        for axis, (valid, at) in enumerate(((rows, y), (columns, x))):
            position = 2 * math.pi * valid[: at + 1].sum() / (valid.sum() + 1e-6)
            for i in range(features):
                angle = position / 10000 ** (2 * (i // 2) / features)
                result[b, axis * features + i, y, x] = math.cos(angle) if i % 2 else math.sin(angle)
    return result


def padded_mask() -> np.ndarray:
    mask = np.zeros((3, 7, 5), dtype=bool)
    mask[1, 4:, :] = True
    mask[1, :, 3:] = True
    mask[2, :, 2:] = True
    return mask


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 3e-6)])
def test_sine_positions_follow_the_formula(dtype: torch.dtype, bound: float) -> None:
    mask = padded_mask()
    x = NestedTensor(torch.zeros(3, 1, 7, 5, dtype=dtype), torch.from_numpy(mask))
    positions = PositionEmbeddingSine(16, normalize=True)(x)
    assert positions.dtype == dtype
    error = float(np.abs(positions.numpy() - sine_by_formula(mask, 16)).max())
    assert error <= bound, f"largest error {error:.2e}"


def test_learned_positions_put_columns_first() -> None:
    embedding = PositionEmbeddingLearned(6).double()
    positions = embedding(NestedTensor(torch.zeros(2, 1, 4, 5), torch.zeros(2, 4, 5, dtype=torch.bool)))
    for b, y, x in np.ndindex(2, 4, 5):
        expected = torch.cat((embedding.col_embed.weight[x], embedding.row_embed.weight[y]))
        assert torch.equal(positions[b, :, y, x], expected)


@pytest.mark.parametrize("size", [(96, 96), (97, 65), (33, 127), (100, 70)])
def test_mask_takes_the_nearest_pixel(size: tuple[int, int]) -> None:
    height, width = size
    mask = torch.zeros(2, height, width, dtype=torch.bool)
    mask[1, height // 2 + 3 :] = True
    mask[1, :, width // 2 + 3 :] = True
    backbone = build_backbone(default_args(backbone="resnet18", hidden_dim=8))[0]
    small = backbone(NestedTensor(torch.zeros(2, 3, height, width), mask))[-1].mask
    rows, columns = small.shape[1:]
    assert (rows, columns) == (math.ceil(height / 32), math.ceil(width / 32))
    for b, y, x in np.ndindex(2, rows, columns):
        assert small[b, y, x] == mask[b, y * height // rows, x * width // columns]
