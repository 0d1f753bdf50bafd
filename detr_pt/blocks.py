"""A residual network's training step with maps in oneDNN's layout and norms in the convolutions, where nobody looks.

PyTorch converts the maps before and after every convolution otherwise, 400 times in a step of DETR-R50. Jittor's
convolutions have no layout to stay in, and its norms are computed with what follows them: detr_jt has no such file.
"""

from collections.abc import Collection, Iterable
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
# A sum of such weights, 4608 times each, overflows where maps are beyond 1e29.
MOST = 2.0**16
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

Kinds = dict[str, type[nn.Module]]
# What a frozen norm multiplies by and adds, [C] each.
Factors = tuple[Tensor, Tensor]
BODY: Kinds = {"conv1": Conv2d, "bn1": FrozenBatchNorm2d, "relu": nn.ReLU, "maxpool": MaxPool2d}
BODY |= {f"layer{number}": nn.Sequential for number in range(1, 5)}
BASIC: Kinds = {"conv1": Conv2d, "bn1": FrozenBatchNorm2d, "relu1": nn.ReLU}
BASIC |= {"conv2": Conv2d, "bn2": FrozenBatchNorm2d, "relu2": nn.ReLU}
BOTTLENECK: Kinds = BASIC | {"conv3": Conv2d, "bn3": FrozenBatchNorm2d, "relu3": nn.ReLU}
SHORTCUT: Kinds = {"0": Conv2d, "1": FrozenBatchNorm2d}
# What these classes compute; a class may have been given another forward pass since.
FORWARD = {kind: kind.forward for kind in {*BODY.values(), *BOTTLENECK.values()} - {nn.Sequential}}


def can_be_in_blocks(body: nn.Module, images: Tensor, known: Collection[type[nn.Module]]) -> bool:
    """Tell whether ``maps_in_blocks`` may take the place of the modules of ``body``.

    It may in training, in float32 on a CPU, with images that are not small and numbers that are not huge, if the
    modules are those that ``ResNet`` makes and nobody looks at what they compute: hooks and modes are shown what each
    module returns.

    Args:
        body: a residual network.
        images: [B, 3, H, W].
        known: the classes of its residual blocks.
    """
    backend = torch.backends.mkldnn
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and body.training
        and torch.is_grad_enabled()
        and images.device.type == "cpu"
        and images.dtype == torch.float32
        and images[:, 0].numel() >= LEAST_PIXELS
        and backend.is_available()
        and backend.enabled
        and not torch.is_autocast_enabled("cpu")
        and not looked_at()
        and as_built(body, known)
        and not any(changed(module) for module in body.modules() if module is not body)
        and moderate([images, *body.parameters(), torch.cat([torch.cat(both) for both in factors(body).values()])])
    )


def looked_at() -> bool:
    """Tell whether something looks at every module, every operation or every gradient."""
    modes = _get_current_function_mode(), _get_current_dispatch_mode(), torch._C._functorch.peek_interpreter_stack()
    hooks = [getattr(of_all_modules, f"_global{hooks}") for hooks in HOOKS]
    return any(mode is not None for mode in modes) or any(hooks) or torch.is_anomaly_enabled()


def as_built(body: nn.Module, known: Collection[type[nn.Module]]) -> bool:
    """Tell whether a network consists of what ``ResNet`` makes it of."""
    if kinds(body) != BODY or any(kind.forward is not forward for kind, forward in FORWARD.items()):
        return False
    for block in (block for name in BODY if name.startswith("layer") for block in body.get_submodule(name)):
        parts = kinds(block)
        if parts.pop("downsample", None) and kinds(block.downsample) != SHORTCUT:
            return False
        if type(block) not in known or parts not in (BASIC, BOTTLENECK):
            return False
    convolutions = [module for module in body.modules() if type(module) is Conv2d]
    return all(one.bias is None and one.groups == 1 and one.padding_mode == "zeros" for one in convolutions)


def kinds(module: nn.Module) -> Kinds:
    """Return the classes of a module's children, by their names."""
    return {name: type(child) for name, child in module.named_children()}


def changed(module: nn.Module) -> bool:
    """Tell whether a module has hooks, or a forward pass of its own."""
    return "forward" in vars(module) or any(getattr(module, hooks) for hooks in HOOKS)


def moderate(tensors: Iterable[Tensor]) -> bool:
    """Tell whether what a step begins with is finite and of ordinary size.

    oneDNN's ReLU makes 0 of NaN: a step would go on as if there were none, and its losses and gradients be finite. What
    overflows within one convolution although its weights are of ordinary size is not seen.
    """
    limits = [limit for tensor in tensors for limit in tensor.detach().aminmax()]
    return bool(torch.stack(limits).abs().max() <= MOST)


def factors(body: nn.Module) -> dict[nn.Module, Factors]:
    """Return what each frozen norm multiplies by and adds, see its ``folded``; computed for all of them together."""
    norms = [module for module in body.modules() if isinstance(module, FrozenBatchNorm2d)]
    channels = [len(norm.weight) for norm in norms]
    every = {name: torch.cat([getattr(norm, name) for norm in norms]) for name, _ in norms[0].named_buffers()}
    variance = every["running_var"]
    # Of the norms' dtype and device, whatever those of new tensors are.
    counts = torch.tensor(channels, device=variance.device)
    eps = variance.new_tensor([norm.eps for norm in norms]).repeat_interleave(counts)
    scale = every["weight"] * (variance + eps).rsqrt()
    shift = every["bias"] - every["running_mean"] * scale
    return dict(zip(norms, zip(scale.split(channels), shift.split(channels), strict=True), strict=True))


def maps_in_blocks(body: Any, images: Tensor) -> list[Tensor]:
    """Do what ``ResNet.forward`` does; gradients cannot be differentiated once more.

    Args:
        body: a ``ResNet``.
        images: float32 [B, 3, H, W].
    """
    norms = factors(body)
    x = normalised(body.conv1, norms[body.bn1], images.to_mkldnn()).relu_()
    x = F.max_pool2d(x, body.maxpool.kernel_size, body.maxpool.stride, body.maxpool.padding)
    maps = []
    for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
        for block in stage:
            x = residual(block, x, norms)
        maps.append(x)
    return [one.to_dense() for one in (maps if body.all_maps else maps[-1:])]


def residual(block: Any, x: Tensor, norms: dict[nn.Module, Factors]) -> Tensor:
    """Return what a residual block makes of a map, with the factors of its norms."""
    out = normalised(block.conv1, norms[block.bn1], x)
    out = normalised(block.conv2, norms[block.bn2], out.relu_())
    if hasattr(block, "conv3"):
        out = normalised(block.conv3, norms[block.bn3], out.relu_())
    if block.downsample is not None:
        convolution, norm = block.downsample
        x = normalised(convolution, norms[norm], x)
    return out.add_(x).relu_()


def normalised(convolution: Conv2d, factors: Factors, x: Tensor) -> Tensor:
    """Return a normalised convolution of a map, in one convolution where that is less than to go over the map again."""
    scale, shift = factors
    by_output = scale.reshape(-1, 1, 1, 1)
    weight, how = convolution.weight, (convolution.stride, convolution.padding, convolution.dilation)
    places = x.shape[0] * x.shape[2] * x.shape[3] / convolution.stride[0] ** 2
    if places > weight[0].numel():
        return F.conv2d(x, weight * by_output, shift, *how)
    # Of the operations that oneDNN's layout has, the one that multiplies and adds by channel.
    return F.conv2d(F.conv2d(x, weight, None, *how), by_output, shift, groups=len(by_output))
