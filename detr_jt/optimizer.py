"""AdamW with a learning rate of its own for the backbone, clipping of the gradients, and the drop of the rates."""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jittor as jt
import numpy as np
from jittor import Var, nn

from detr_common.errors import InputError
from detr_common.optimizer_state import (
    MOMENTS,
    check_gradients,
    check_hyperparameters,
    check_optimizer_state,
    check_schedule_state,
    plain,
)
from detr_jt import kernels, update_kernels
from detr_jt.layers import constant

# Saved as PyTorch saves them; none of them is acted upon.
UNUSED = {
    "amsgrad": False,
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": True,
    "decoupled_weight_decay": True,
}


class AdamW(jt.optim.Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019); betas 0.9 and 0.999, eps 1e-8.

    Args:
        groups: each with ``params``, pairs of a name and a parameter, maybe none, and ``lr``.
        weight_decay: by which, times the learning rate, parameters shrink in a step.

    Raises:
        InputError: there is no parameter in all groups.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], weight_decay: float) -> None:
        self.names = [[name for name, _ in group["params"]] for group in groups]
        if not any(self.names):
            raise InputError("the optimizer was given no parameter that takes a gradient")
        options = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": weight_decay, **UNUSED}
        bare = [{"params": [p for _, p in group["params"]], "lr": group["lr"], **options} for group in groups]
        super().__init__(bare, lr=bare[0]["lr"])
        self.state: dict[str, dict[str, Any]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state in the layout of ``torch.optim.AdamW.state_dict``, with arrays for tensors."""
        order = [name for names in self.names for name in names]
        state = {
            index: {
                "step": np.array(self.state[name]["step"], np.float32),
                **{k: self.state[name][k].numpy() for k in MOMENTS},
            }
            for index, name in enumerate(order)
            if name in self.state
        }
        numbers = iter(range(len(order)))
        groups = [
            {key: value for key, value in group.items() if key not in ("params", "grads")}
            | {"params": [next(numbers) for _ in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` of either package returned, cast to the dtype of the parameters.

        Args:
            state_dict: ``state``, by the index of a parameter ``step`` and, in its shape, ``exp_avg`` and
                ``exp_avg_sq``; and ``param_groups``, with ``lr``, ``betas``, ``eps``, ``weight_decay`` and ``params``,
                the indices of its parameters. Vars or arrays.

        Raises:
            InputError: groups or shapes differ; all differences are listed, and nothing has changed.
        """
        parameters = named_parameters(self)
        check_optimizer_state(state_dict, self.names, {name: tuple(p.shape) for name, p in parameters.items()})
        order = [index for group in state_dict["param_groups"] for index in group["params"]]
        self.state = {
            name: {"step": float(entry["step"])}
            | {key: jt.array(np.asarray(entry[key]), dtype=str(p.dtype)).stop_grad() for key in MOMENTS}
            for index, (name, p) in zip(order, parameters.items(), strict=True)
            if (entry := state_dict["state"].get(index)) is not None
        }
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({key: plain(value) for key, value in saved.items() if key != "params"})

    def backward(self, loss: Var, retain_graph: bool = False) -> None:
        """Compute gradients as Jittor does, averaged over processes.

        Raises:
            InputError: a parameter takes no gradient any more.
        """
        stopped = [name for name, p in named_parameters(self).items() if p.is_stop_grad()]
        if stopped:
            raise InputError(
                f"{len(stopped)} parameters of the optimizer take no gradient, the first of them {stopped[0]}: in "
                "Jittor eval() stops all gradients of a module; call train() on the same module"
            )
        super().backward(loss, retain_graph)

    def step(self, loss: Var | None = None, retain_graph: bool = False) -> None:
        """Update all parameters by their gradients, after ``backward`` of a loss if one is given.

        The order of operations is that of PyTorch, whose rounding it follows.
        """
        self.pre_step(loss, retain_graph)
        for names, group in zip(self.names, self.param_groups, strict=True):
            for name, p, gradient in zip(names, group["params"], group.get("grads", []), strict=False):
                if name not in self.state:
                    self.state[name] = {"step": 0.0, **{key: jt.zeros_like(p).stop_grad() for key in MOMENTS}}
                update(p, gradient, self.state[name], group)
        self.post_step()

    def clip_grad_norm(self, max_norm: float, norm_type: int = 2) -> Var:
        """See the function of this name; only the 2-norm. What is inherited is off by 2 % for 40 million values."""
        if norm_type != 2:
            raise InputError(f"gradients are clipped by their 2-norm, not by their {norm_type}-norm")
        return clip_grad_norm(self, max_norm)


class StepLR:
    """Multiplies every learning rate by ``gamma`` each time that ``step_size`` epochs are over.

    Args:
        optimizer: whose groups have the learning rates.
        step_size: epochs between two drops.
        gamma: factor of a drop.
    """

    def __init__(self, optimizer: AdamW, step_size: int, gamma: float = 0.1) -> None:
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.step_size = step_size
        self.gamma = gamma
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._step_count = 1
        self._is_initial = self._get_lr_called_within_step = False
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the state with the keys of ``torch.optim.lr_scheduler.StepLR.state_dict``."""
        return {key: value for key, value in vars(self).items() if key != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` of either package returned.

        Raises:
            InputError: keys are missing, or it is of another number of groups; nothing has changed.
        """
        check_schedule_state(state_dict, len(self.base_lrs))
        vars(self).update({key: plain(value) for key, value in state_dict.items()})

    def step(self) -> None:
        """Say that an epoch is over."""
        self._step_count += 1
        self.last_epoch += 1
        if self.last_epoch % self.step_size == 0:
            for group in self.optimizer.param_groups:
                group["lr"] = group["lr"] * self.gamma
        self._last_lr = self.get_last_lr()

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]


def update(p: Var, gradient: Var, state: dict[str, Any], group: Mapping[str, Any]) -> None:
    """Take one step of AdamW in place.

    Args:
        p: the parameter.
        gradient: in its shape.
        state: ``step``, ``exp_avg`` and ``exp_avg_sq`` of the parameter.
        group: with ``lr``, ``betas``, ``eps`` and ``weight_decay``.
    """
    state["step"] += 1
    if kernels.ours(p, gradient, state["exp_avg"], state["exp_avg_sq"]):
        after = update_kernels.adamw(p, gradient, state, group)
        for value, new in zip((p, state["exp_avg"], state["exp_avg_sq"]), after, strict=True):
            value.update(new)
        return
    lr, (beta1, beta2) = group["lr"], group["betas"]
    mean = state["exp_avg"] + (gradient - state["exp_avg"]) * constant(1 - beta1, p)
    # Not fused, since one kernel would square the gradient first; and the divisor is a row, since by a single number
    # it would multiply with the reciprocal. PyTorch does neither, and each costs a digit.
    weighted = (gradient * constant(1 - beta2, p)).stop_fuse()
    square = state["exp_avg_sq"] * constant(beta2, p) + weighted * gradient
    row = jt.array(np.full(p.shape[-1:], math.sqrt(1 - beta2 ** state["step"])), dtype=str(p.dtype))
    denominator = square.sqrt() / row + constant(group["eps"], p)
    step_size = constant(lr / (1 - beta1 ** state["step"]), p)
    kept = p * constant(1 - lr * group["weight_decay"], p)
    state["exp_avg"].update(mean)
    state["exp_avg_sq"].update(square)
    p.update(kept - mean * step_size / denominator)


def named_parameters(optimizer: AdamW) -> dict[str, Var]:
    """Return the parameters of an optimizer by name, in the order of its groups."""
    groups = zip(optimizer.names, optimizer.param_groups, strict=True)
    return {name: p for names, group in groups for name, p in zip(names, group["params"], strict=True)}


def moments(optimizer: AdamW) -> dict[str, dict[str, Var]]:
    """Return ``step``, ``exp_avg`` and ``exp_avg_sq`` of each parameter that had a step, by its name."""
    return dict(optimizer.state)


def backward(optimizer: AdamW, loss: Var) -> None:
    """Compute the gradients of ``loss`` with respect to the optimizer's parameters; earlier ones are dropped."""
    optimizer.zero_grad()
    optimizer.backward(loss)


def gradients(optimizer: AdamW) -> dict[str, Var]:
    """Return the gradient of each parameter by its name; none before ``backward``."""
    groups = zip(optimizer.names, optimizer.param_groups, strict=True)
    return {name: g for names, group in groups for name, g in zip(names, group.get("grads", []), strict=False)}


def drop_gradients(optimizer: AdamW) -> None:
    """Forget all gradients, so that the next forward pass has their memory."""
    for group in optimizer.param_groups:
        group.pop("grads", None)
    optimizer._grad_map = {}  # of opt_grad, which would go on to return those of this step


def set_gradients(optimizer: AdamW, values: Mapping[str, Any]) -> None:
    """Put arrays in the place of all gradients, cast to the dtype of the parameters.

    Args:
        optimizer: of the parameters.
        values: an array for each parameter by its name.

    Raises:
        InputError: a name is missing or unknown, or a shape differs; nothing has changed.
    """
    parameters = named_parameters(optimizer)
    check_gradients(values, {name: tuple(p.shape) for name, p in parameters.items()})
    for names, group in zip(optimizer.names, optimizer.param_groups, strict=True):
        group["grads"] = [jt.array(values[name], dtype=str(parameters[name].dtype)).stop_grad() for name in names]


def clip_grad_norm(optimizer: AdamW, max_norm: float) -> Var:
    """Scale all gradients so that their common 2-norm is at most ``max_norm``; 0 leaves them as they are.

    Returns:
        The norm before, a scalar.
    """
    values = list(gradients(optimizer).values())
    sums = [update_kernels.squares(value) for value in values]
    norm = jt.concat(sums).sum().sqrt()
    if max_norm > 0:
        factor = jt.minimum(constant(max_norm, norm) / (norm + constant(1e-6, norm)), constant(1.0, norm))
        for value in values:
            value.update(update_kernels.scaled(value, factor.cast(str(value.dtype))))
    return norm.cast(str(values[0].dtype))


def build_optimizer(model: nn.Module, args: argparse.Namespace) -> AdamW:
    """Return the optimizer of what takes a gradient: the backbone with ``lr_backbone``, all else, first, with ``lr``.

    Raises:
        InputError: nothing takes a gradient, or a rate or the weight decay is negative or not finite.
    """
    check_hyperparameters(lr=args.lr, lr_backbone=args.lr_backbone, weight_decay=args.weight_decay)
    trained = [(name, p) for name, p in model.named_parameters() if not p.is_stop_grad()]
    groups = [
        {"params": [pair for pair in trained if "backbone" not in pair[0]], "lr": args.lr},
        {"params": [pair for pair in trained if "backbone" in pair[0]], "lr": args.lr_backbone},
    ]
    return AdamW(groups, args.weight_decay)


def build_scheduler(optimizer: AdamW, args: argparse.Namespace) -> StepLR:
    """Return the schedule by which learning rates fall to a tenth every ``lr_drop`` epochs.

    Raises:
        InputError: ``lr_drop`` is less than 1.
    """
    check_hyperparameters(lr_drop=args.lr_drop)
    return StepLR(optimizer, args.lr_drop)
