"""A small U-Net in PyTorch: the model that was ported."""

import torch
from torch import nn
from torch.nn import functional as F


class DoubleConv(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(4, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(4, after)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)))


class UNet(nn.Module):
    """Segments [B, 3, H, W] images: logits [B, 1, H, W]; H and W are multiples of 4."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.enc1 = DoubleConv(3, width)
        self.enc2 = DoubleConv(width, 2 * width)
        self.mid = DoubleConv(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.dec2 = DoubleConv(4 * width, 2 * width)
        self.reduce = nn.Conv2d(2 * width, width, 1)
        self.dec1 = DoubleConv(2 * width, width)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, images):
        first = self.enc1(images)
        second = self.enc2(F.max_pool2d(first, 2))
        x = self.mid(F.max_pool2d(second, 2))
        x = self.dec2(torch.cat([self.up2(x), second], dim=1))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = self.dec1(torch.cat([self.reduce(x), first], dim=1))
        return {"logits": self.out(x), "coarse": second.mean((2, 3))}


def build(**options) -> nn.Module:
    return UNet(**options)


def loss(outputs, masks):
    logits = outputs["logits"]
    overlap = (logits.sigmoid() * masks).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (logits.sigmoid().sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
    return {"loss_bce": F.binary_cross_entropy_with_logits(logits, masks), "loss_dice": dice.mean()}
