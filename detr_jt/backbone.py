"""The convolutional backbone, its padding masks and its position encodings (DETR, section 3.2)."""

import argparse

from jittor import Var, nn

from detr_common.images import nearest
from detr_jt.nested_tensor import NestedTensor
from detr_jt.position_encoding import build_position_encoding
from detr_jt.resnet import ResNet


class Backbone(nn.Module):
    """A residual network of which the first parts, or all of it, are not trained.

    Args:
        name: one of ``detr_jt.resnet.LAYOUTS``.
        trained: how many of its parts, the stem and four stages, are trained, from the last.
        dilation: DC5, see ``ResNet``.
        all_maps: return the maps of all stages, for masks, instead of the last alone.
    """

    def __init__(self, name: str, trained: int, dilation: bool, all_maps: bool = False) -> None:
        super().__init__()
        self.body = ResNet(name, dilation, all_maps)
        self.num_channels = self.body.num_channels
        parts = ("layer4", "layer3", "layer2", "layer1", "conv1")[:trained]
        for parameter_name, parameter in self.body.named_parameters():
            if not parameter_name.startswith(parts):
                parameter.stop_grad()

    def execute(self, tensor_list: NestedTensor) -> list[NestedTensor]:
        """Map images [B, 3, H, W] to maps, each with the mask at its size, nearest neighbour."""
        tensors, mask = tensor_list.decompose()
        maps = []
        for x in self.body(tensors):
            rows, columns = (nearest(n, k) for n, k in zip(mask.shape[1:], x.shape[2:], strict=True))
            maps.append(NestedTensor(x, mask[:, rows][:, :, columns]))
        return maps


class Joiner(nn.Sequential):
    """A backbone (child 0) and the position encoding of its last map (child 1)."""

    def __init__(self, backbone: Backbone, position_embedding: nn.Module) -> None:
        super().__init__(backbone, position_embedding)
        self.num_channels = backbone.num_channels

    def execute(self, tensor_list: NestedTensor) -> tuple[list[NestedTensor], Var]:
        """Return the maps with their masks, and the position encodings [B, hidden_dim, H, W] of the last."""
        features = self[0](tensor_list)
        return features, self[1](features[-1])


def build_backbone(args: argparse.Namespace) -> Joiner:
    """Return the backbone and position encoding that ``args`` describes."""
    trained = args.trainable_backbone_layers if args.lr_backbone > 0 else 0
    backbone = Backbone(args.backbone, trained, args.dilation, all_maps=args.masks)
    return Joiner(backbone, build_position_encoding(args))
