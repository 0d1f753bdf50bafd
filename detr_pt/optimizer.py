"""AdamW with a learning rate of its own for the backbone, clipping of the gradients, and the drop of the rates."""

import argparse
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detr_common.errors import InputError
from detr_common.optimizer_state import (
    check_gradients,
    check_hyperparameters,
    check_optimizer_state,
    check_schedule_state,
    plain,
)


class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019); betas 0.9 and 0.999, eps 1e-8.

    Args:
        groups: each with ``params``, pairs of a name and a parameter, maybe none, and ``lr``.
        weight_decay: by which, times the learning rate, parameters shrink in a step.

    Raises:
        InputError: there is no parameter in all groups.
    """

    # Without the wrappers that keep PyTorch's compiler away from them: these import it, which takes a second.
    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))

    def __init__(self, groups: Sequence[Mapping[str, Any]], weight_decay: float) -> None:
        self.names = [[name for name, _ in group["params"]] for group in groups]
        if not any(self.names):
            raise InputError("the optimizer was given no parameter that takes a gradient")
        bare = [{"params": [p for _, p in group["params"]], "lr": group["lr"]} for group in groups]
        super().__init__(bare, lr=bare[0]["lr"], betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay, fused=True)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` of either package returned, cast to the dtype of the parameters.

        Args:
            state_dict: ``state``, by the index of a parameter ``step`` and, in its shape, ``exp_avg`` and
                ``exp_avg_sq``; and ``param_groups``, with ``lr``, ``betas``, ``eps``, ``weight_decay`` and ``params``,
                the indices of its parameters. Tensors or arrays.

        Raises:
            InputError: groups or shapes differ; all differences are listed, and nothing has changed.
        """
        parameters = named_parameters(self)
        check_optimizer_state(state_dict, self.names, {name: tuple(p.shape) for name, p in parameters.items()})
        groups = [
            {key: plain(value) if key != "params" else list(value) for key, value in group.items()} | {"fused": True}
            for group in state_dict["param_groups"]
        ]
        entries = {
            index: {
                key: torch.tensor(float(value)) if key == "step" else torch.as_tensor(value).clone()
                for key, value in entry.items()
            }
            for index, entry in state_dict["state"].items()
        }
        inspect.unwrap(super().load_state_dict.__func__)(self, {"state": entries, "param_groups": groups})


class StepLR(torch.optim.lr_scheduler.StepLR):
    """Multiplies every learning rate by ``gamma`` each time that ``step_size`` epochs are over.

    Args:
        optimizer: whose groups have the learning rates.
        step_size: epochs between two drops.
        gamma: factor of a drop.
    """

    def __init__(self, optimizer: AdamW, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer, step_size, gamma)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` of either package returned.

        Raises:
            InputError: keys are missing, or it is of another number of groups; nothing has changed.
        """
        check_schedule_state(state_dict, len(self.base_lrs))
        super().load_state_dict({key: plain(value) for key, value in state_dict.items()})


def named_parameters(optimizer: AdamW) -> dict[str, Tensor]:
    """Return the parameters of an optimizer by name, in the order of its groups."""
    groups = zip(optimizer.names, optimizer.param_groups, strict=True)
    return {name: p for names, group in groups for name, p in zip(names, group["params"], strict=True)}


def moments(optimizer: AdamW) -> dict[str, dict[str, Tensor]]:
    """Return ``step``, ``exp_avg`` and ``exp_avg_sq`` of each parameter that had a step, by its name."""
    state = optimizer.state
    return {name: state[p] for name, p in named_parameters(optimizer).items() if p in state}


def backward(optimizer: AdamW, loss: Tensor) -> None:
    """Compute the gradients of ``loss`` with respect to the optimizer's parameters; earlier ones are dropped."""
    optimizer.zero_grad()
    loss.backward()


def gradients(optimizer: AdamW) -> dict[str, Tensor]:
    """Return the gradient of each parameter by its name; none before ``backward``."""
    return {name: p.grad for name, p in named_parameters(optimizer).items() if p.grad is not None}


def drop_gradients(optimizer: AdamW) -> None:
    """Forget all gradients, so that the next forward pass has their memory."""
    optimizer.zero_grad()


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
    for name, p in parameters.items():
        p.grad = torch.tensor(values[name], dtype=p.dtype, device=p.device)


def clip_grad_norm(optimizer: AdamW, max_norm: float) -> Tensor:
    """Scale all gradients so that their common 2-norm is at most ``max_norm``; 0 leaves them as they are.

    Returns:
        The norm before, a scalar.
    """
    parameters = [p for p in named_parameters(optimizer).values() if p.grad is not None]
    if max_norm > 0:
        return nn.utils.clip_grad_norm_(parameters, max_norm)
    return torch.stack([torch.linalg.vector_norm(p.grad) for p in parameters]).norm()


def build_optimizer(model: nn.Module, args: argparse.Namespace) -> AdamW:
    """Return the optimizer of what takes a gradient: the backbone with ``lr_backbone``, all else, first, with ``lr``.

    Raises:
        InputError: nothing takes a gradient, or a rate or the weight decay is negative or not finite.
    """
    check_hyperparameters(lr=args.lr, lr_backbone=args.lr_backbone, weight_decay=args.weight_decay)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
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
