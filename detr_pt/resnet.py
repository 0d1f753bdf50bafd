"""ResNet with frozen batch norm, down to the last feature map (He et al. 2015; stride on the 3x3 convolution)."""

from torch import Tensor, nn

from detr_pt.blocks import can_be_in_blocks, maps_in_blocks
from detr_pt.layers import Conv2d, FrozenBatchNorm2d, MaxPool2d


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> Conv2d:
    """Return a convolution without bias that keeps the size at stride 1, initialised for a following ReLU."""
    padding = dilation * (kernel // 2)
    layer = Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; ResNet-18 and -34."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = conv(inputs, width, 3, stride, dilation)
        self.bn1 = FrozenBatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(width, width, 3)
        self.bn2 = FrozenBatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, width, H/stride, W/stride]."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu2(out + shortcut)


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution and a shortcut; ResNet-50 and -101."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = conv(inputs, width, 1)
        self.bn1 = FrozenBatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(width, width, 3, stride, dilation)
        self.bn2 = FrozenBatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = conv(width, width * self.expansion, 1)
        self.bn3 = FrozenBatchNorm2d(width * self.expansion)
        self.relu3 = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, 4 width, H/stride, W/stride]."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu3(out + shortcut)


LAYOUTS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(nn.Module):
    """The stem and four stages of a residual network.

    Args:
        name: one of ``LAYOUTS``.
        dilation: keep the last stage at stride 16 by dilating its convolutions (DETR, section 4, "DC5").
        all_maps: return the map of every stage.

    Attributes:
        num_channels: channels of the map of each stage.

    Raises:
        ValueError: ``dilation`` with a network of basic blocks, for which it is not defined.
    """

    def __init__(self, name: str, dilation: bool = False, all_maps: bool = False) -> None:
        super().__init__()
        self.all_maps = all_maps
        block, depths = LAYOUTS[name]
        if dilation and block is BasicBlock:
            raise ValueError(f"--dilation is not defined for {name}; use resnet50 or resnet101, or leave it out")
        self.conv1 = conv(3, 64, 7, stride=2)
        self.bn1 = FrozenBatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = MaxPool2d()
        self.layer1 = stage(block, 64, 64, depths[0])
        self.layer2 = stage(block, 64 * block.expansion, 128, depths[1], stride=2)
        self.layer3 = stage(block, 128 * block.expansion, 256, depths[2], stride=2)
        self.layer4 = stage(block, 256 * block.expansion, 512, depths[3], stride=2, dilate=dilation)
        self.num_channels = [width * block.expansion for width in (64, 128, 256, 512)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images [B, 3, H, W] to the last map, [B, C, H/32, W/32] (H/16, W/16 with dilation), or to all four."""
        if can_be_in_blocks(self, x, (BasicBlock, Bottleneck)):
            return maps_in_blocks(self, x)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps if self.all_maps else maps[-1:]


def stage(
    block: type[BasicBlock | Bottleneck], inputs: int, width: int, depth: int, stride: int = 1, dilate: bool = False
) -> nn.Sequential:
    """Return ``depth`` blocks, of which the first changes size and channels; later ones dilate if asked to."""
    outputs = width * block.expansion
    stride, dilation = (1, stride) if dilate else (stride, 1)
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(conv(inputs, outputs, 1, stride), FrozenBatchNorm2d(outputs))
    blocks = [block(inputs, width, stride, 1, downsample)]
    blocks += [block(outputs, width, 1, dilation, None) for _ in range(1, depth)]
    return nn.Sequential(*blocks)
