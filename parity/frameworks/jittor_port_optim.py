"""An optimizer of Jittor's as the steps ask for it; ``torch_port_optim`` is the mirror image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import detr_jt  # noqa: F401 - readies Jittor, so it comes before Jittor itself

# isort: split
import jittor as jt
import numpy as np
from jittor import Var, nn

from parity.frameworks import builders
from parity.frameworks.base import Array
from parity.frameworks.port import Constant, Names

# What optimizers keep, by Jittor's names and by PyTorch's.
_MOMENTS = {
    "Adam": {"m": "exp_avg", "values": "exp_avg_sq"},
    "AdamW": {"m": "exp_avg", "values": "exp_avg_sq"},
    "SGD": {"values": "momentum_buffer"},
    "RMSprop": {"values": "square_avg"},
}


class JittorOptim:
    """An optimizer of Jittor's, as the steps ask for it.

    Args:
        trained: returns the parameters that take a gradient, by the reference's names.
        names: that rename the port's.
    """

    def __init__(self, trained: Callable[[], dict[str, Var]], names: Names) -> None:
        self._trained = trained
        self._rename = names.rename

    def build_optimizer(self, model: nn.Module, args: Any) -> Any:
        """Return the optimizer of a recipe, or what the user's function returns."""
        recipe = args.optimizer
        self._schedule: Any = None
        if isinstance(recipe, Mapping):
            optimizer = getattr(jt.optim, recipe["name"])(model.parameters(), **recipe["options"])
            if recipe["drop_every"]:
                self._schedule = jt.lr_scheduler.StepLR(optimizer, recipe["drop_every"], recipe["gamma"])
        else:
            made = (builders.find(recipe) if isinstance(recipe, str) else recipe)(model)
            optimizer, self._schedule = made if isinstance(made, tuple) else (made, None)
        return optimizer

    def build_scheduler(self, optimizer: Any, args: Any) -> Any:
        """Return the schedule, or one that does nothing."""
        return self._schedule or Constant()

    def backward(self, optimizer: Any, loss: Var) -> None:
        """Compute the gradients of ``loss``; earlier ones are dropped."""
        optimizer.zero_grad()
        optimizer.backward(loss)

    def gradients(self, optimizer: Any) -> dict[str, Var]:
        """Return the gradient of each parameter that takes one."""
        return {
            name: gradient
            for group, names in self._names(optimizer)
            for name, gradient in zip(names, group.get("grads", []), strict=False)
            if name
        }

    def set_gradients(self, optimizer: Any, values: Mapping[str, Array]) -> None:
        """Put arrays in the place of all gradients."""
        # What ``backward`` would have noted; without it clipping does nothing.
        optimizer._Optimizer__zero_grad = False
        for group, names in self._names(optimizer):
            group["grads"] = [
                (jt.array(values[name], dtype=str(p.dtype)) if name else jt.zeros_like(p)).stop_grad().sync()
                for name, p in zip(names, group["params"], strict=True)
            ]

    def clip_grad_norm(self, optimizer: Any, max_norm: float) -> float:
        """Clip all gradients as Jittor does, where there is a norm to clip to; return the norm before."""
        values = list(self.gradients(optimizer).values())
        norm = float(np.sqrt(sum(np.square(value.numpy(), dtype=np.float64).sum() for value in values)))
        if max_norm > 0:
            optimizer.clip_grad_norm(max_norm)
        return norm

    def moments(self, optimizer: Any) -> dict[str, dict[str, Any]]:
        """Return what the optimizer keeps of each parameter, by PyTorch's kinds.

        Raises:
            ValueError: it is of a class whose memory is not known.
        """
        kind = type(optimizer).__name__
        if hasattr(optimizer, "state") and isinstance(optimizer.state, Mapping):
            return {self._rename(name): dict(kept) for name, kept in optimizer.state.items()}
        if kind not in _MOMENTS:
            raise ValueError(
                f"what {kind} keeps of a parameter is not known; give it `state`, a dict by parameter's name"
            )
        kept: dict[str, dict[str, Any]] = {}
        for group, names in self._names(optimizer):
            for i, name in enumerate(names):
                if name:
                    kept[name] = {to: group[own][i].numpy() for own, to in _MOMENTS[kind].items()}
                    if kind != "SGD":
                        kept[name]["step"] = np.asarray(optimizer.n_step)
                    elif not group.get("momentum", optimizer.momentum):
                        kept[name] = {}
        return kept

    def _names(self, optimizer: Any) -> list[tuple[dict[str, Any], list[str]]]:
        """Return the groups with the names of their parameters; of one that takes no gradient it is empty."""
        names = {id(p): name for name, p in self._trained().items()}
        return [(group, [names.get(id(p), "") for p in group["params"]]) for group in optimizer.param_groups]
