"""The port of unet_torch.py to Jittor: other names, and the modules in another order."""

import jittor as jt
from jittor import nn


def mean(x):
    """Mean over all but two axes, row by row: Jittor adds one number after the other, which costs digits of a map."""
    return x.mean(-1, keepdims=True).mean(2, keepdims=True)


class GroupNorm(nn.GroupNorm):
    """Jittor's own takes the variance as E[x^2] - E[x]^2: with 2.5 times PyTorch's float32 error it fails here."""

    def execute(self, x):
        rows = x.reshape(x.shape[0], self.num_groups, -1, x.shape[-1])
        centred = rows - mean(rows)
        normed = (centred / jt.sqrt(mean(centred * centred) + self.eps)).reshape(x.shape)
        return normed * self.weight.reshape(1, -1, 1, 1) + self.bias.reshape(1, -1, 1, 1)


class ConvBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm1 = GroupNorm(4, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = GroupNorm(4, after)

    def execute(self, x):
        x = nn.relu(self.norm1(self.conv1(x)))
        return nn.relu(self.norm2(self.conv2(x)))


class UNet(nn.Module):
    """Segments [B, 3, H, W] images: logits [B, 1, H, W]; H and W are multiples of 4."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.head = nn.Conv2d(width, 1, 1)
        self.down = nn.ModuleList([ConvBlock(3, width), ConvBlock(width, 2 * width), ConvBlock(2 * width, 4 * width)])
        self.up = nn.ModuleList([ConvBlock(4 * width, 2 * width), ConvBlock(2 * width, width)])
        self.transposed = nn.ConvTranspose(4 * width, 2 * width, 2, stride=2)
        self.reduce = nn.Conv2d(2 * width, width, 1)

    def execute(self, images):
        first = self.down[0](images)
        second = self.down[1](nn.max_pool2d(first, 2))
        x = self.down[2](nn.max_pool2d(second, 2))
        x = self.up[0](jt.concat([self.transposed(x), second], dim=1))
        x = nn.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = self.up[1](jt.concat([self.reduce(x), first], dim=1))
        return {"logits": self.head(x), "coarse": second.mean((2, 3))}


def build(**options) -> nn.Module:
    return UNet(**options)


def loss(outputs, masks):
    logits = outputs["logits"]
    overlap = (logits.sigmoid() * masks).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (logits.sigmoid().sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
    return {"loss_bce": nn.binary_cross_entropy_with_logits(logits, masks), "loss_dice": dice.mean()}
