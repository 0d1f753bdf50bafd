"""Whether the state of an optimizer, in PyTorch's layout, fits the parameters that it is to go on with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from weight_convert.errors import CheckpointError

Shapes = Mapping[str, Sequence[int]]

# Arrays of a parameter's own shape that PyTorch's Adam, AdamW and SGD keep.
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
# What a group must say for AdamW to go on as before; whatever else it says is kept.
_NUMBERS = ("lr", "eps", "weight_decay")


def check_optimizer(state: Any, groups: Sequence[Shapes], where: str = "optimizer") -> None:
    """Refuse the state of an AdamW that does not fit a list of parameters, before any of it is used.

    Args:
        state: as ``torch.optim.AdamW.state_dict()`` gives it, with arrays or tensors of any framework:
            ``{"state": {index: {"step", "exp_avg", "exp_avg_sq"}}, "param_groups": [{"lr", ..., "params": [index]}]}``.
            Parameters that never had a gradient have no entry in "state".
        groups: for each group of the optimizer the shapes of its parameters by name, in its order.
        where: what the message begins with, such as ``run.pth: optimizer``.

    Raises:
        CheckpointError: the layout is another, the groups or their sizes differ, an index is out of place, or what is
            kept of a parameter has another shape, kind or count of steps; the parameter is named.
    """
    saved = _groups_of(state, where)
    if len(saved) != len(groups):
        raise CheckpointError(
            f"{where}: has {len(saved)} parameter groups, this run has {len(groups)}; it was saved by another model or "
            "with other learning rates"
        )
    names: dict[int, tuple[str, Sequence[int]]] = {}
    for number, (group, shapes) in enumerate(zip(saved, groups, strict=True)):
        _check_group(group, shapes, f"{where}: group {number}")
        for index, (name, shape) in zip(group["params"], shapes.items(), strict=True):
            if index in names:
                raise CheckpointError(f"{where}: {names[index][0]} and {name} both have index {index}; it is damaged")
            names[index] = name, shape
    for index, kept in state["state"].items():
        if index not in names:
            raise CheckpointError(f"{where}: keeps a state for index {index!r}, which is in no group; it is damaged")
        _check_parameter(kept, *names[index], where)


def _groups_of(state: Any, where: str) -> list[Any]:
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    if not isinstance(groups, list) or not isinstance(state.get("state"), Mapping):
        raise CheckpointError(
            f"{where}: is not the state of an optimizer in PyTorch's layout, {{'state': ..., 'param_groups': [...]}}"
        )
    return groups


def _check_group(group: Any, shapes: Shapes, where: str) -> None:
    indices = group.get("params") if isinstance(group, Mapping) else None
    if not isinstance(indices, list) or not all(type(index) is int for index in indices):
        raise CheckpointError(f"{where} has no list of indices under 'params'; it is damaged")
    if len(indices) != len(shapes):
        raise CheckpointError(
            f"{where} has {len(indices)} parameters, this run has {len(shapes)} there ({_ends(shapes)}); it was saved "
            "by another model"
        )
    named = group.get("param_names")
    if named is not None and len(named) != len(shapes):
        raise CheckpointError(f"{where} has {len(named)} names for {len(shapes)} parameters; it is damaged")
    for theirs, ours in zip(named or shapes, shapes, strict=True):
        if theirs != ours:
            raise CheckpointError(f"{where} has {theirs} where this run has {ours}; it was saved by another model")
    for key in _NUMBERS:
        _check_number(group.get(key), f"{where} has no number under {key!r}")
    betas = group.get("betas")
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise CheckpointError(f"{where} has no pair of numbers under 'betas'; it was not saved by AdamW")
    for beta in betas:
        _check_number(beta, f"{where} has no pair of numbers under 'betas'")


def _check_number(value: Any, message: str) -> None:
    number = _number(value)
    if number is None or not math.isfinite(number) or number < 0:
        raise CheckpointError(f"{message}; it was not saved by AdamW")


def _check_parameter(kept: Any, name: str, shape: Sequence[int], where: str) -> None:
    if not isinstance(kept, Mapping):
        raise CheckpointError(f"{where}: keeps a {type(kept).__name__} for {name}, not step and moments; it is damaged")
    missing = [key for key in ("step", "exp_avg", "exp_avg_sq") if key not in kept]
    if missing:
        raise CheckpointError(f"{where}: lacks {', '.join(missing)} of {name}; it was not saved by AdamW")
    steps = _number(kept["step"])
    if steps is None or not math.isfinite(steps) or steps < 0 or steps != math.floor(steps):
        raise CheckpointError(f"{where}: step of {name} is {kept['step']}, not a count; it is damaged")
    for key in MOMENTS:
        if key not in kept:
            continue
        found = getattr(kept[key], "shape", None)
        if found is None or tuple(found) != tuple(shape):
            shown = f"a {type(kept[key]).__name__}" if found is None else f"of shape {list(found)}"
            raise CheckpointError(
                f"{where}: {key} of {name} is {shown}, the parameter is of shape {list(shape)}; it was saved by "
                "another model, or with the parameters in another order"
            )
        if "float" not in str(kept[key].dtype):
            raise CheckpointError(f"{where}: {key} of {name} is of {kept[key].dtype}, not of floats; it is damaged")


def _number(value: Any) -> float | None:
    """The value of a Python or NumPy number, or of an array, tensor or Var of one element; None for all else."""
    if isinstance(value, (bool, str, bytes)) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    shape = getattr(value, "shape", None)
    return float(value.item()) if shape is not None and math.prod(shape) == 1 else None


def _ends(names: Iterable[str]) -> str:
    every = list(names)
    return " ... ".join([every[0], every[-1]]) if len(every) > 1 else "".join(every) or "none"
