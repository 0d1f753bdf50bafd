"""Losses, gradients and steps of a model of the user's in PyTorch; ``jittor_port_training`` is the mirror image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from parity import chance
from parity.choices import Choices
from parity.frameworks.port import Names, PortPasses, direction, flatten, losses_by_name
from parity.frameworks.port_choices import DROPOUT, POOL, RELU, Labels
from parity.frameworks.torch_port_optim import TorchOptim
from parity.frameworks.torch_training import TorchTraining, to_numpy


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor."""
    return isinstance(value, Tensor)


class TorchPortTraining(PortPasses, TorchTraining):
    """Passes of training on a module of the user's; see ``PortPasses``."""

    def __init__(self, args: Any, model: nn.Module, loss: Any, names: Names) -> None:
        super().__init__(args, model, loss, names)
        self.optim = TorchOptim(self.trained)

    def trained(self) -> dict[str, Tensor]:
        """Return the parameters that take a gradient, by the reference's names."""
        return {name: p for name, p in self.own_parameters().items() if p.requires_grad}

    @contextmanager
    def choosing(self, choices: Choices, dropout: tuple[int, int] | None = None) -> Iterator[None]:
        """Note the choices that are made or impose them; with a seed and a step also draw the masks of dropouts."""
        labels = Labels(choices)
        handles = []
        for name, module in self.named:
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: labels.stack.append(name)))
            handles.append(module.register_forward_hook(lambda *_: labels.stack.pop() and None))
        try:
            with _Choosing(choices, labels, dropout):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def run(self, batch: Any, to_inputs: bool = False) -> tuple[dict[str, Tensor], Tensor]:
        """Run model and loss."""
        args, kwargs, targets = batch
        if to_inputs:
            for _, tensor in flatten([args, kwargs], is_tensor):
                tensor.requires_grad_(tensor.is_floating_point())
        outputs = self.model(*args, **kwargs)
        if self.loss is None:
            parts = [(path, out) for path, out in flatten(outputs, is_tensor) if out.is_floating_point()]
            losses = {
                path or "output": (out * torch.from_numpy(direction(path, out.shape)).to(out)).sum()
                for path, out in parts
            }
        else:
            losses = losses_by_name(self.loss(outputs, targets), is_tensor)
        return losses, torch.stack([one.reshape(()) for one in losses.values()]).sum()


class _Choosing(TorchFunctionMode):  # type: ignore[misc]
    """Sees every ReLU, max pooling and dropout, whether a module or a function."""

    def __init__(self, choices: Choices, labels: Labels, dropout: tuple[int, int] | None) -> None:
        super().__init__()
        self.choices = choices
        self.labels = labels
        self.dropout = dropout

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = getattr(func, "__name__", "")
        if kind in ("relu", "relu_"):
            return self._relu(func, *args, **kwargs)
        if kind in ("max_pool2d", "_max_pool2d", "boolean_dispatch") and func is not F.max_pool2d_with_indices:
            return self._pool(func, *args, **kwargs)
        if kind == "dropout" and self.dropout is not None:
            return self._dropped(func, *args, **kwargs)
        if kind == "scaled_dot_product_attention" and self.dropout is not None and kwargs.get("dropout_p"):
            raise ValueError("scaled_dot_product_attention draws its own dropout, which no port can share; set it to 0")
        return func(*args, **kwargs)

    def _relu(self, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        label = self.labels.next(RELU)
        given = self.labels.given(label, x.shape)
        if self.choices.given is None:
            self.choices.note_mask(label, to_numpy(x > 0))
        if given is None:
            return func(x, *args, **kwargs)
        mask = torch.from_numpy(given).to(x.device)
        in_place = func.__name__ == "relu_" or kwargs.get("inplace") or args[:1] == (True,)
        return x.mul_(mask) if in_place else torch.where(mask, x, torch.zeros_like(x))

    def _pool(self, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        label = self.labels.next(POOL)
        given = self.labels.given(label, x.shape)
        kwargs.pop("return_indices", None)
        if self.choices.given is None and x.ndim == 4:
            self.choices.note_index(label, to_numpy(F.max_pool2d_with_indices(x, *args, **kwargs)[1]))
        if given is None:
            return func(x, *args, **kwargs)
        index = torch.from_numpy(given).to(x.device)
        return x.flatten(2).gather(2, index.flatten(2)).reshape(index.shape)

    def _dropped(self, func: Any, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0 or self.dropout is None:
            return func(x, p, training, inplace)
        mask = chance.keep_mask(*self.dropout, self.labels.next(DROPOUT), tuple(x.shape), p)
        return x * torch.from_numpy(mask).to(x) * (1 / (1 - p))
