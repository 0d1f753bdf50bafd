"""An optimizer of PyTorch's as the steps ask for it; ``jittor_port_optim`` is the mirror image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.frameworks import builders
from parity.frameworks.base import Array
from parity.frameworks.port import Constant
from parity.frameworks.torch_training import to_numpy


class TorchOptim:
    """An optimizer of PyTorch's, as the steps ask for it.

    Args:
        trained: returns the parameters that take a gradient, by the reference's names.
    """

    def __init__(self, trained: Callable[[], dict[str, Tensor]]) -> None:
        self._trained = trained

    def build_optimizer(self, model: nn.Module, args: Any) -> torch.optim.Optimizer:
        """Return the optimizer of a recipe, or what the user's function returns."""
        recipe = args.optimizer
        self._schedule: Any = None
        if isinstance(recipe, Mapping):
            optimizer = unwrapped(getattr(torch.optim, recipe["name"]))(model.parameters(), **recipe["options"])
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
        return {name: p.grad for name, p in self._trained().items() if p.grad is not None}

    def set_gradients(self, optimizer: torch.optim.Optimizer, values: Mapping[str, Array]) -> None:
        """Put arrays in the place of all gradients."""
        for name, p in self._trained().items():
            p.grad = torch.tensor(values[name], dtype=p.dtype, device=p.device)

    def clip_grad_norm(self, optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
        """Clip all gradients together, where there is a norm to clip to; return the norm before."""
        parameters = [p for p in self._trained().values() if p.grad is not None]
        if max_norm > 0:
            return nn.utils.clip_grad_norm_(parameters, max_norm)
        return torch.stack([torch.linalg.vector_norm(p.grad) for p in parameters]).norm()

    def moments(self, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Array]]:
        """Return what the optimizer keeps of each parameter, by kind."""
        return {
            name: {
                kind: to_numpy(value) if isinstance(value, Tensor) else np.asarray(value)
                for kind, value in optimizer.state[p].items()
                if value is not None
            }
            for name, p in self._trained().items()
            if p in optimizer.state
        }


@cache
def unwrapped(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return a kind of optimizers without the wrappers that import PyTorch's compiler, which takes a second."""
    names = ("add_param_group", "state_dict", "load_state_dict", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(inspect.unwrap(kind.step))})
