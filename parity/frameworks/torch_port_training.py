"""Losses, gradients and steps of a model of the user's in PyTorch; ``jittor_port_training`` is the mirror image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from parity import chance
from parity.capture import Captured
from parity.choices import WANTED, Choices
from parity.frameworks import builders
from parity.frameworks.base import Array, gradient_name
from parity.frameworks.port import Names, direction, flatten, losses_by_name, of_criterion
from parity.frameworks.port_choices import DROPOUT, POOL, RELU, Labels
from parity.frameworks.torch_training import TorchTraining, capturing, to_numpy


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor."""
    return isinstance(value, Tensor)


class TorchPortTraining(TorchTraining):
    """Passes of training on a module of the user's.

    Args:
        args: see ``TorchPort.build``.
        model: the module.
        loss: called with outputs and targets; None sums the outputs with drawn weights.
        names: of modules and weights.
    """

    def __init__(self, args: Any, model: nn.Module, loss: Any, names: Names) -> None:
        self.args = args
        self.model = model
        self.loss = loss
        self.names = names
        self.named = names.modules(model.named_modules())
        if isinstance(loss, nn.Module):
            self.named += of_criterion(loss.named_modules())
        self.optim = TorchOptim(self)

    def trained(self) -> dict[str, Tensor]:
        """Return the parameters that take a gradient, by the reference's names."""
        return {
            name: p for name, p in self.names.weights(dict(self.model.named_parameters())).items() if p.requires_grad
        }

    def state(self) -> dict[str, Any]:
        """Return parameters and buffers by the reference's names."""
        return self.names.weights(self.model.state_dict())

    def choose(self, batch: Any) -> dict[str, Array]:
        """Run the losses, and return the choices and which tensors the total loss has a gradient of."""
        choices = Choices()
        wanted: dict[str, Array] = {}

        def note(c: Captured) -> None:
            if c.tensor.requires_grad and not isinstance(c.tensor, nn.Parameter):
                wanted[WANTED + gradient_name(c.name)] = np.zeros(0, np.uint8)

        with self.choosing(choices), capturing(self.named, self.model, note, split=True):
            self.run(batch)
        return {**choices.made, **wanted}

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

    def run(self, batch: Any) -> tuple[dict[str, Tensor], Tensor]:
        """Run model and loss; float inputs have gradients, so that every module's output has one."""
        args, kwargs, targets = batch
        if torch.is_grad_enabled():
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


class TorchOptim:
    """An optimizer of PyTorch's, as the steps ask for it.

    Args:
        training: whose parameters it has.
    """

    def __init__(self, training: TorchPortTraining) -> None:
        self._training = training

    def build_optimizer(self, model: nn.Module, args: Any) -> torch.optim.Optimizer:
        """Return the optimizer of a recipe, or what the user's function returns."""
        recipe = args.optimizer
        self._schedule: Any = None
        if isinstance(recipe, Mapping):
            optimizer = getattr(torch.optim, recipe["name"])(model.parameters(), **recipe["options"])
            if recipe["drop_every"]:
                step_lr = torch.optim.lr_scheduler.StepLR
                self._schedule = step_lr(optimizer, recipe["drop_every"], recipe["gamma"])
        else:
            made = (builders.find(recipe) if isinstance(recipe, str) else recipe)(model)
            optimizer, self._schedule = made if isinstance(made, tuple) else (made, None)
        return optimizer

    def build_scheduler(self, optimizer: torch.optim.Optimizer, args: Any) -> Any:
        """Return the schedule, or one that does nothing."""
        return self._schedule or Constant()

    def backward(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """Compute the gradients of ``loss``; earlier ones are dropped."""
        optimizer.zero_grad()
        loss.backward()

    def gradients(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Return the gradient of each parameter that has one."""
        return {name: p.grad for name, p in self._training.trained().items() if p.grad is not None}

    def set_gradients(self, optimizer: torch.optim.Optimizer, values: Mapping[str, Array]) -> None:
        """Put arrays in the place of all gradients."""
        for name, p in self._training.trained().items():
            p.grad = torch.tensor(values[name], dtype=p.dtype, device=p.device)

    def clip_grad_norm(self, optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
        """Clip all gradients together, where there is a norm to clip to; return the norm before."""
        parameters = [p for p in self._training.trained().values() if p.grad is not None]
        if max_norm > 0:
            return nn.utils.clip_grad_norm_(parameters, max_norm)
        return torch.stack([torch.linalg.vector_norm(p.grad) for p in parameters]).norm()

    def moments(self, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Array]]:
        """Return what the optimizer keeps of each parameter, by kind."""
        return {
            name: {
                kind: to_numpy(value) if is_tensor(value) else np.asarray(value)
                for kind, value in optimizer.state[p].items()
                if value is not None
            }
            for name, p in self._training.trained().items()
            if p in optimizer.state
        }


class Constant:
    """A schedule that leaves the learning rate as it is."""

    def step(self) -> None:
        """Do nothing."""
