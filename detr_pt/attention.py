"""Multi-head attention (Vaswani et al. 2017, section 3.2.2) with the packed projection of the published checkpoints.

Shapes: L queries, S keys, B images, E features, H heads, D = E / H features a head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detr_pt.layers import Dropout, Linear


class MultiheadAttention(nn.Module):
    """Scaled dot-product attention in several heads.

    Args:
        embed_dim: E.
        num_heads: H, a divisor of E.
        dropout: probability with which an attention weight is dropped in training.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dim``.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {embed_dim} features; choose --nheads or --hidden_dim")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.scaling = (embed_dim // num_heads) ** -0.5
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out_proj = Linear(embed_dim, embed_dim)
        self.dropout = Dropout(dropout)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Attend from every query to every key that is not padding.

        Args:
            query: [L, B, E].
            key: [S, B, E].
            value: [S, B, E].
            key_padding_mask: bool [B, S], True where a key is padding. An image with no valid key gives NaN.

        Returns:
            [L, B, E].
        """
        q, k, v = (self.project(x, part) for part, x in enumerate((query, key, value)))
        scores = torch.matmul(q * self.scaling, k.transpose(2, 3))
        if key_padding_mask is not None:
            scores = scores.masked_fill_(key_padding_mask[:, None, None, :], float("-inf"))
        weights = self.dropout(scores.softmax(dim=-1))
        heads = torch.matmul(weights, v)
        return self.out_proj(heads.permute(2, 0, 1, 3).reshape(query.shape))

    def project(self, x: Tensor, part: int) -> Tensor:
        """Apply the query (0), key (1) or value (2) projection: [L, B, E] to [B, H, L, D]."""
        rows = slice(part * self.embed_dim, (part + 1) * self.embed_dim)
        x = F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])
        length, batch, _ = x.shape
        return x.reshape(length, batch, self.num_heads, -1).permute(1, 2, 0, 3)
