"""Feature maps in the layout in which oneDNN computes, where nothing outside the backbone sees them.

PyTorch converts the maps before and after every convolution otherwise, 400 times in a step of DETR-R50. Jittor's
convolutions have no layout to stay in, so detr_jt has no such file.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_all_modules
from torch.overrides import _get_current_function_mode
from torch.utils._python_dispatch import _get_current_dispatch_mode

# With fewer pixels in a batch, the other operations lose what the convolutions gain.
LEAST_PIXELS = 2**16
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def can_be_in_blocks(body: nn.Module, images: Tensor, known: set[type[nn.Module]]) -> bool:
    """Tell whether ``body`` may compute in oneDNN's layout.

    It may in float32 on a CPU, if the images are not small, all modules in it are of classes that can, and nobody looks
    at what they compute: what hooks and modes see are arrays in the usual layout. Gradients cannot be differentiated
    once more then.

    Args:
        body: a residual network.
        images: [B, 3, H, W].
        known: the classes that can.
    """
    backend = torch.backends.mkldnn
    return (
        images.device.type == "cpu"
        and images.dtype == torch.float32
        and images[:, 0].numel() >= LEAST_PIXELS
        and backend.is_available()
        and backend.enabled
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not looked_at()
        and all(type(module) in known and not changed(module) for module in body.modules() if module is not body)
    )


def looked_at() -> bool:
    """Tell whether something looks at every module or every operation."""
    modes = _get_current_function_mode(), _get_current_dispatch_mode()
    return any(mode is not None for mode in modes) or any(getattr(of_all_modules, f"_global{hooks}") for hooks in HOOKS)


def changed(module: nn.Module) -> bool:
    """Tell whether a module has hooks, or a forward pass of its own."""
    return "forward" in vars(module) or any(getattr(module, hooks) for hooks in HOOKS)
