"""The transformer of DETR (section 3.2 and appendix A.3): positions at every attention, all decoder outputs kept.

Shapes: S = H W pixels of the map, Q object queries, B images, E features.
"""

import argparse

import jittor as jt
from jittor import Var, nn

from detr_jt.attention import MultiheadAttention
from detr_jt.layers import Dropout, LayerNorm, Linear, ReLU


def with_pos_embed(x: Var, pos: Var | None) -> Var:
    """Add position encodings if there are any."""
    return x if pos is None else x + pos


class TransformerEncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each with a residual connection."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout)
        self.linear1 = Linear(d_model, dim_feedforward)
        self.activation = ReLU()
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model)
        self.norm1 = LayerNorm(d_model)
        self.norm2 = LayerNorm(d_model)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.pre_norm = pre_norm

    def execute(self, src: Var, padding: Var | None = None, pos: Var | None = None) -> Var:
        """Map [S, B, E] to the same shape; ``padding`` is bool [B, S], ``pos`` [S, B, E]."""
        x = self.norm1(src) if self.pre_norm else src
        q = k = with_pos_embed(x, pos)
        src = src + self.dropout1(self.self_attn(q, k, x, key_padding_mask=padding))
        if not self.pre_norm:
            src = self.norm1(src)
        x = self.norm2(src) if self.pre_norm else src
        src = src + self.dropout2(self.feed_forward(x))
        return src if self.pre_norm else self.norm2(src)

    def feed_forward(self, x: Var) -> Var:
        """Apply the two linear layers to [S, B, E]."""
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoder(nn.Module):
    """Encoder layers, and a last norm if they are pre-norm."""

    def __init__(self, layers: list[TransformerEncoderLayer], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def execute(self, src: Var, padding: Var | None = None, pos: Var | None = None) -> Var:
        """Map [S, B, E] to the memory [S, B, E]."""
        for layer in self.layers:
            src = layer(src, padding=padding, pos=pos)
        return src if self.norm is None else self.norm(src)


class TransformerDecoderLayer(nn.Module):
    """Self-attention among queries, attention to the memory, and a feed-forward network."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout)
        self.linear1 = Linear(d_model, dim_feedforward)
        self.activation = ReLU()
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model)
        self.norm1 = LayerNorm(d_model)
        self.norm2 = LayerNorm(d_model)
        self.norm3 = LayerNorm(d_model)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.pre_norm = pre_norm

    def execute(
        self,
        tgt: Var,
        memory: Var,
        padding: Var | None = None,
        pos: Var | None = None,
        query_pos: Var | None = None,
    ) -> Var:
        """Map [Q, B, E] to the same shape.

        Args:
            tgt: [Q, B, E].
            memory: [S, B, E].
            padding: bool [B, S], True where the memory is padding.
            pos: [S, B, E], positions of the memory.
            query_pos: [Q, B, E], the object queries.
        """
        x = self.norm1(tgt) if self.pre_norm else tgt
        q = k = with_pos_embed(x, query_pos)
        tgt = tgt + self.dropout1(self.self_attn(q, k, x))
        if not self.pre_norm:
            tgt = self.norm1(tgt)
        x = self.norm2(tgt) if self.pre_norm else tgt
        query, key = with_pos_embed(x, query_pos), with_pos_embed(memory, pos)
        tgt = tgt + self.dropout2(self.multihead_attn(query, key, memory, key_padding_mask=padding))
        if not self.pre_norm:
            tgt = self.norm2(tgt)
        x = self.norm3(tgt) if self.pre_norm else tgt
        tgt = tgt + self.dropout3(self.feed_forward(x))
        return tgt if self.pre_norm else self.norm3(tgt)

    def feed_forward(self, x: Var) -> Var:
        """Apply the two linear layers to [Q, B, E]."""
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerDecoder(nn.Module):
    """Decoder layers; the output of each goes through one shared norm."""

    def __init__(self, layers: list[TransformerDecoderLayer], norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def execute(
        self,
        tgt: Var,
        memory: Var,
        padding: Var | None = None,
        pos: Var | None = None,
        query_pos: Var | None = None,
    ) -> Var:
        """Return the normalised outputs of all layers, [layers, Q, B, E]; arguments as for a layer."""
        outputs = []
        for layer in self.layers:
            tgt = layer(tgt, memory, padding=padding, pos=pos, query_pos=query_pos)
            outputs.append(self.norm(tgt))
        return jt.stack(outputs)


class Transformer(nn.Module):
    """Encoder over the pixels of a map, decoder over object queries."""

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        pre_norm: bool = False,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.nhead = nhead
        layer = (d_model, nhead, dim_feedforward, dropout, pre_norm)
        encoder_layers = [TransformerEncoderLayer(*layer) for _ in range(num_encoder_layers)]
        self.encoder = TransformerEncoder(encoder_layers, LayerNorm(d_model) if pre_norm else None)
        decoder_layers = [TransformerDecoderLayer(*layer) for _ in range(num_decoder_layers)]
        self.decoder = TransformerDecoder(decoder_layers, LayerNorm(d_model))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                jt.init.xavier_uniform_(parameter)

    def execute(self, src: Var, mask: Var, query_embed: Var, pos_embed: Var) -> tuple[Var, Var]:
        """Run encoder and decoder.

        Args:
            src: [B, E, H, W].
            mask: bool [B, H, W], True where padded.
            query_embed: [Q, E].
            pos_embed: [B, E, H, W].

        Returns:
            Decoder outputs [layers, B, Q, E] and the memory as a map, [B, E, H, W].
        """
        b, c, h, w = src.shape
        src = src.flatten(2).permute(2, 0, 1)
        pos_embed = pos_embed.flatten(2).permute(2, 0, 1)
        query_embed = query_embed[:, None, :].repeat(1, b, 1)
        padding = mask.flatten(1)
        memory = self.encoder(src, padding=padding, pos=pos_embed)
        tgt = jt.zeros_like(query_embed)
        hs = self.decoder(tgt, memory, padding=padding, pos=pos_embed, query_pos=query_embed)
        return hs.transpose(1, 2), memory.permute(1, 2, 0).reshape(b, c, h, w)


def build_transformer(args: argparse.Namespace) -> Transformer:
    """Return the transformer that ``args`` describes."""
    return Transformer(
        d_model=args.hidden_dim,
        nhead=args.nheads,
        num_encoder_layers=args.enc_layers,
        num_decoder_layers=args.dec_layers,
        dim_feedforward=args.dim_feedforward,
        dropout=args.dropout,
        pre_norm=args.pre_norm,
    )
