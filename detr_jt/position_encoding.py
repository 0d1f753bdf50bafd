"""Position encodings of a feature map, added to queries and keys (DETR, section 3.2 and appendix A.4)."""

import argparse
import math

import jittor as jt
import numpy as np
from jittor import Var, nn

from detr_jt.layers import constant
from detr_jt.nested_tensor import NestedTensor


class PositionEmbeddingSine(nn.Module):
    """Sines and cosines of the coordinates of the valid pixels (Vaswani et al. 2017, section 3.5, in two dimensions).

    Args:
        num_pos_feats: features for each of the two axes.
        temperature: the longest wavelength is 2 pi times this.
        normalize: stretch the valid part of every image to the range up to ``scale``.
        scale: the range of a normalised coordinate, 2 pi if not given.
    """

    def __init__(
        self, num_pos_feats: int = 64, temperature: int = 10000, normalize: bool = False, scale: float = 2 * math.pi
    ) -> None:
        super().__init__()
        self.num_pos_feats = num_pos_feats
        self.temperature = temperature
        self.normalize = normalize
        self.scale = scale

    def execute(self, tensor_list: NestedTensor) -> Var:
        """Return [B, 2 num_pos_feats, H, W], of the dtype of the map, for a map [B, C, H, W] and its mask."""
        x, mask = tensor_list.decompose()
        # Cast before summing: the running sum of a bool Var stays bool, which would be 1 everywhere.
        valid = jt.logical_not(mask).cast(str(x.dtype))
        y_embed = valid.cumsum(1)
        x_embed = valid.cumsum(2)
        if self.normalize:
            eps, scale = constant(1e-6, x), constant(self.scale, x)
            y_embed = y_embed / (y_embed[:, -1:, :] + eps) * scale
            x_embed = x_embed / (x_embed[:, :, -1:] + eps) * scale
        pos_y, pos_x = self.waves(y_embed), self.waves(x_embed)
        return jt.concat((pos_y, pos_x), dim=3).permute(0, 3, 1, 2)

    def waves(self, coordinate: Var) -> Var:
        """Map coordinates [B, H, W] to interleaved sines and cosines [B, H, W, num_pos_feats]."""
        # By NumPy, whose powers are right to the last digit; Jittor's are off by up to 2e-6.
        dim_t = self.temperature ** (2 * (np.arange(self.num_pos_feats) // 2) / self.num_pos_feats)
        angle = coordinate[:, :, :, None] / jt.array(dim_t, dtype=str(coordinate.dtype))
        return jt.stack((angle[:, :, :, 0::2].sin(), angle[:, :, :, 1::2].cos()), dim=4).flatten(3)


class PositionEmbeddingLearned(nn.Module):
    """A learned vector for each of the first 50 rows and columns.

    Args:
        num_pos_feats: features for each of the two axes.
    """

    def __init__(self, num_pos_feats: int = 256) -> None:
        super().__init__()
        self.row_embed = nn.Embedding(50, num_pos_feats)
        self.col_embed = nn.Embedding(50, num_pos_feats)
        jt.init.uniform_(self.row_embed.weight)
        jt.init.uniform_(self.col_embed.weight)

    def execute(self, tensor_list: NestedTensor) -> Var:
        """Return [B, 2 num_pos_feats, H, W] for a map [B, C, H, W].

        Raises:
            ValueError: the map has more than 50 rows or columns.
        """
        b, _, h, w = tensor_list.tensors.shape
        if max(h, w) > 50:
            raise ValueError(f"learned position encodings reach to 50 rows and columns, but the map has {h} x {w}")
        columns = self.col_embed(jt.arange(w))
        rows = self.row_embed(jt.arange(h))
        pos = jt.concat((columns[None, :, :].repeat(h, 1, 1), rows[:, None, :].repeat(1, w, 1)), dim=-1)
        return pos.permute(2, 0, 1)[None].repeat(b, 1, 1, 1)


def build_position_encoding(args: argparse.Namespace) -> nn.Module:
    """Return the encoding that ``args.position_embedding`` names, ``args.hidden_dim`` features in all."""
    num_pos_feats = args.hidden_dim // 2
    if args.position_embedding == "sine":
        return PositionEmbeddingSine(num_pos_feats, normalize=True)
    return PositionEmbeddingLearned(num_pos_feats)
