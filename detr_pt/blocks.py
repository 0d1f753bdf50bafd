"""A residual network's training step with maps in oneDNN's layout and norms in the convolutions, where nobody looks.

PyTorch converts the maps before and after every convolution otherwise, 400 times in a step of DETR-R50. Jittor's
convolutions have no layout to stay in, and its norms are computed with what follows them: detr_jt has no such file.
"""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as of_all_modules
from torch.overrides import _get_current_function_mode
from torch.utils._python_dispatch import _get_current_dispatch_mode

from detr_pt.layers import Conv2d, FrozenBatchNorm2d, MaxPool2d

# With fewer pixels in a batch, the other operations lose what the convolutions gain.
LEAST_PIXELS = 2**16
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
PARTS = (Conv2d, FrozenBatchNorm2d, MaxPool2d, nn.ReLU, nn.Sequential)


def can_be_in_blocks(body: nn.Module, images: Tensor, known: Collection[type[nn.Module]]) -> bool:
    """Tell whether ``maps_in_blocks`` may take the place of the modules of ``body``.

    It may in float32 on a CPU, where gradients are wanted, of images that are not small, if all modules are of classes
    that are known, and nobody looks at what they compute: hooks and modes are shown what each module returns. What is
    predicted without gradients is the same whether somebody looks or not.

    Args:
        body: a residual network.
        images: [B, 3, H, W].
        known: the classes of its residual blocks.
    """
    backend = torch.backends.mkldnn
    return (
        images.device.type == "cpu"
        and images.dtype == torch.float32
        and images[:, 0].numel() >= LEAST_PIXELS
        and torch.is_grad_enabled()
        and backend.is_available()
        and backend.enabled
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not looked_at()
        and all(type(one) in (*PARTS, *known) and not changed(one) for one in body.modules() if one is not body)
    )


def looked_at() -> bool:
    """Tell whether something looks at every module or every operation."""
    modes = _get_current_function_mode(), _get_current_dispatch_mode()
    return any(mode is not None for mode in modes) or any(getattr(of_all_modules, f"_global{hooks}") for hooks in HOOKS)


def changed(module: nn.Module) -> bool:
    """Tell whether a module has hooks, or a forward pass of its own."""
    return "forward" in vars(module) or any(getattr(module, hooks) for hooks in HOOKS)


def maps_in_blocks(body: Any, images: Tensor) -> list[Tensor]:
    """Do what ``ResNet.forward`` does; gradients cannot be differentiated once more.

    Args:
        body: a ``ResNet``.
        images: float32 [B, 3, H, W].
    """
    x = body.maxpool(normalised(body.conv1, body.bn1, images).relu_()).to_mkldnn()
    maps = []
    for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
        for block in stage:
            x = residual(block, x)
        maps.append(x)
    return [one.to_dense() for one in (maps if body.all_maps else maps[-1:])]


def residual(block: Any, x: Tensor) -> Tensor:
    """Return what a residual block makes of a map."""
    out = normalised(block.conv1, block.bn1, x)
    out = normalised(block.conv2, block.bn2, out.relu_())
    if hasattr(block, "conv3"):
        out = normalised(block.conv3, block.bn3, out.relu_())
    shortcut = x if block.downsample is None else normalised(*block.downsample, x)
    return (out + shortcut).relu_()


def normalised(convolution: Conv2d, norm: FrozenBatchNorm2d, x: Tensor) -> Tensor:
    """Return a normalised convolution of a map, in one convolution where that is less than to go over the map again."""
    scale, shift = norm.folded()
    by_output, shift = scale.reshape(-1, 1, 1, 1), shift.flatten()
    weight, how = convolution.weight, (convolution.stride, convolution.padding, convolution.dilation)
    places = x.shape[0] * x.shape[2] * x.shape[3] / convolution.stride[0] ** 2
    if places > weight[0].numel():
        return F.conv2d(x, weight * by_output, shift, *how)
    # Of the operations that oneDNN's layout has, the one that multiplies and adds by channel.
    return F.conv2d(F.conv2d(x, weight, None, *how), by_output, shift, groups=len(by_output))
