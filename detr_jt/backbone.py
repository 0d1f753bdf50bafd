"""The convolutional backbone, its padding masks and its position encodings (DETR, section 3.2)."""

import argparse

import numpy as np
from jittor import Var, nn

from detr_jt.nested_tensor import NestedTensor
from detr_jt.position_encoding import build_position_encoding
from detr_jt.resnet import ResNet


class Backbone(nn.Module):
    """A residual network of which the first parts, or all of it, are not trained.

    Args:
        name: one of ``detr_jt.resnet.LAYOUTS``.
        trained: how many of its parts, the stem and four stages, are trained, from the last.
        dilation: DC5, see ``ResNet``.
    """

    def __init__(self, name: str, trained: int, dilation: bool) -> None:
        super().__init__()
        self.body = ResNet(name, dilation)
        self.num_channels = self.body.num_channels
        parts = ("layer4", "layer3", "layer2", "layer1", "conv1")[:trained]
        for parameter_name, parameter in self.body.named_parameters():
            if not parameter_name.startswith(parts):
                parameter.stop_grad()

    def execute(self, tensor_list: NestedTensor) -> NestedTensor:
        """Map images [B, 3, H, W] to the last map, with the mask at its size, nearest neighbour."""
        tensors, mask = tensor_list.decompose()
        x = self.body(tensors)
        rows, columns = (nearest(n, k) for n, k in zip(mask.shape[1:], x.shape[2:], strict=True))
        return NestedTensor(x, mask[:, rows][:, :, columns])


def nearest(size_in: int, size_out: int) -> np.ndarray:
    """Return the index of the source of each of ``size_out`` cells, int32 [size_out].

    Jittor's interpolation is bilinear unless told otherwise, and cannot make a map of one cell. The step is float32 as
    PyTorch takes it, so that both round alike.
    """
    step = np.float32(size_in) / np.float32(size_out)
    return np.minimum((np.arange(size_out, dtype=np.float32) * step).astype(np.int32), size_in - 1)


class Joiner(nn.Sequential):
    """A backbone (child 0) and the position encoding of its map (child 1)."""

    def __init__(self, backbone: Backbone, position_embedding: nn.Module) -> None:
        super().__init__(backbone, position_embedding)
        self.num_channels = backbone.num_channels

    def execute(self, tensor_list: NestedTensor) -> tuple[NestedTensor, Var]:
        """Return the map with its mask, and the position encodings [B, hidden_dim, H, W]."""
        features = self[0](tensor_list)
        return features, self[1](features)


def build_backbone(args: argparse.Namespace) -> Joiner:
    """Return the backbone and position encoding that ``args`` describes."""
    trained = args.trainable_backbone_layers if args.lr_backbone > 0 else 0
    return Joiner(Backbone(args.backbone, trained, args.dilation), build_position_encoding(args))
