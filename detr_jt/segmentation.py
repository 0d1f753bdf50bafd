"""Masks for every object: attention maps of the queries, made larger over the maps of the backbone (DETR, section 4.4).

Shapes: B images, Q queries, E features, M heads; the last map is H by W.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jittor as jt
from jittor import Var, nn

from detr_jt.kernels import product
from detr_jt.layers import Conv2d, GroupNorm, Linear, constant
from detr_jt.nested_tensor import NestedTensor, as_nested_tensor
from detr_jt.resize import resize_nearest

if TYPE_CHECKING:
    from detr_jt.detr import DETR


class DETRsegm(nn.Module):
    """A detector that tells the pixels of its objects.

    Args:
        detr: finds them; its backbone returns all four maps.
        freeze_detr: train the mask head alone.
    """

    def __init__(self, detr: DETR, freeze_detr: bool = False) -> None:
        super().__init__()
        self.detr = detr
        if freeze_detr:
            for parameter in self.parameters():
                parameter.stop_grad()
        hidden_dim, heads = detr.transformer.d_model, detr.transformer.nhead
        self.bbox_attention = MHAttentionMap(hidden_dim, hidden_dim, heads)
        self.mask_head = MaskHeadSmallConv(hidden_dim + heads, detr.backbone.num_channels[-2::-1], hidden_dim)

    def execute(self, samples: NestedTensor | Var | Sequence[Var]) -> dict[str, Var | list[dict[str, Var]]]:
        """Detect objects and their masks.

        Args:
            samples: see ``DETR``.

        Returns:
            What ``DETR`` returns and ``pred_masks``, logits [B, Q, H', W'] of a quarter of the padded batch's sides.
        """
        encoded = self.detr.encode(as_nested_tensor(samples))
        out = self.detr.predict(encoded.hs)
        attention = self.bbox_attention(encoded.hs[-1], encoded.memory, encoded.features[-1].mask)
        finer = [features.tensors for features in encoded.features[-2::-1]]
        masks = self.mask_head(encoded.src, attention, finer)
        return {**out, "pred_masks": masks.reshape(*attention.shape[:2], *masks.shape[-2:])}


class MHAttentionMap(nn.Module):
    """Where each query looks, in several heads: a softmax over heads and pixels together; values are not taken.

    Args:
        query_dim: size of a query.
        hidden_dim: E, of both projections.
        num_heads: M, a divisor of E.
    """

    def __init__(self, query_dim: int, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scaling = (hidden_dim / num_heads) ** -0.5
        self.q_linear = Linear(query_dim, hidden_dim)
        self.k_linear = Linear(query_dim, hidden_dim)
        for linear in (self.q_linear, self.k_linear):
            jt.init.xavier_uniform_(linear.weight)
            jt.init.zero_(linear.bias)

    def execute(self, queries: Var, memory: Var, mask: Var) -> Var:
        """Attend from queries [B, Q, E] to a map [B, E, H, W], padded where ``mask`` [B, H, W] is; [B, Q, M, H, W]."""
        b, q, _ = queries.shape
        h, w = memory.shape[-2:]
        heads = self.q_linear(queries).reshape(b, q, self.num_heads, -1) * constant(self.scaling, queries)
        keys = self.k_linear(memory.flatten(2).transpose(1, 2)).reshape(b, h * w, self.num_heads, -1)
        scores = product(heads.transpose(1, 2), keys.transpose(1, 2), transposed=True).transpose(1, 2)
        scores = scores.masked_fill(mask.flatten(1)[:, None, None, :], float("-inf"))
        return nn.softmax(scores.flatten(2), dim=-1).reshape(b, q, self.num_heads, h, w)


class MaskHeadSmallConv(nn.Module):
    """Convolutions with group norm that double the size three times, over a feature pyramid (Lin et al. 2017).

    Args:
        dim: channels of what comes in, a multiple of 8.
        fpn_dims: channels of the maps of the backbone, from the coarsest.
        context_dim: E, a multiple of 128.
    """

    def __init__(self, dim: int, fpn_dims: Sequence[int], context_dim: int) -> None:
        super().__init__()
        widths = [dim, context_dim // 2, context_dim // 4, context_dim // 8, context_dim // 16]
        self.lay1 = Conv2d(dim, dim, 3, padding=1)
        self.gn1 = GroupNorm(8, dim)
        self.lay2 = Conv2d(dim, widths[1], 3, padding=1)
        self.gn2 = GroupNorm(8, widths[1])
        self.lay3 = Conv2d(widths[1], widths[2], 3, padding=1)
        self.gn3 = GroupNorm(8, widths[2])
        self.lay4 = Conv2d(widths[2], widths[3], 3, padding=1)
        self.gn4 = GroupNorm(8, widths[3])
        self.lay5 = Conv2d(widths[3], widths[4], 3, padding=1)
        self.gn5 = GroupNorm(8, widths[4])
        self.out_lay = Conv2d(widths[4], 1, 3, padding=1)
        self.adapter1 = Conv2d(fpn_dims[0], widths[1], 1)
        self.adapter2 = Conv2d(fpn_dims[1], widths[2], 1)
        self.adapter3 = Conv2d(fpn_dims[2], widths[3], 1)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.relu3 = nn.ReLU()
        self.relu4 = nn.ReLU()
        self.relu5 = nn.ReLU()
        for module in self.modules():
            if isinstance(module, Conv2d):
                jt.init.kaiming_uniform_(module.weight, a=1)
                jt.init.zero_(module.bias)

    def execute(self, x: Var, attention: Var, finer: Sequence[Var]) -> Var:
        """Make masks of attention maps.

        Args:
            x: projected map [B, E, H, W].
            attention: [B, Q, M, H, W].
            finer: maps of the backbone [B, C, H', W'], each larger than the last.

        Returns:
            Logits [B Q, 1, H', W'] of the size of the last of them.
        """
        queries = attention.shape[1]
        x = jt.concat([expand(x, queries), attention.flatten(0, 1)], dim=1)
        x = self.relu1(self.gn1(self.lay1(x)))
        x = self.relu2(self.gn2(self.lay2(x)))
        x = grown(x, self.adapter1(finer[0]), queries)
        x = self.relu3(self.gn3(self.lay3(x)))
        x = grown(x, self.adapter2(finer[1]), queries)
        x = self.relu4(self.gn4(self.lay4(x)))
        x = grown(x, self.adapter3(finer[2]), queries)
        x = self.relu5(self.gn5(self.lay5(x)))
        return self.out_lay(x)


def expand(x: Var, queries: int) -> Var:
    """Repeat what is the same for all queries of an image, [B, ...] to [B Q, ...]."""
    return x[:, None].expand(-1, queries, -1, -1, -1).flatten(0, 1)


def grown(x: Var, finer: Var, queries: int) -> Var:
    """Enlarge maps [B Q, C, H, W] to the size of a finer map [B, C, H', W'] and add it to each."""
    return expand(finer, queries) + resize_nearest(x, finer.shape[-2:])
