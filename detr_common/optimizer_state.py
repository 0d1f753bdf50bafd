"""The strict check that a saved optimizer or schedule fits the one that is to go on with it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from detr_common.errors import InputError

# What every group of AdamW is saved with and what of it is acted upon.
NUMBERS = ("lr", "eps", "weight_decay")
MOMENTS = ("exp_avg", "exp_avg_sq")
# Variants of AdamW that a group may be saved with and that are not continued here.
VARIANTS = ("amsgrad", "maximize")

_SCHEDULE = ("step_size", "gamma", "base_lrs", "last_epoch", "_step_count", "_last_lr")


def plain(value: Any) -> Any:
    """Turn a number, NumPy's or a framework's, or a list of such, into Python's own; leave anything else."""
    if isinstance(value, (list, tuple)):
        return type(value)(plain(one) for one in value)
    return value.item() if hasattr(value, "item") else value


def check_hyperparameters(**values: float) -> None:
    """Check learning rates and the like, given by the names of their options.

    Raises:
        InputError: one is negative or not finite, or ``lr_drop`` is less than an epoch.
    """
    for name, value in values.items():
        if not (math.isfinite(value) and value >= (1 if name == "lr_drop" else 0)):
            raise InputError(
                f"--{name} {value}: give a number that is {'at least 1' if name == 'lr_drop' else 'not negative'}"
            )


def holds_run(tree: object) -> bool:
    """Whether a checkpoint holds more of a run of training than weights."""
    return isinstance(tree, Mapping) and any(key in tree for key in ("optimizer", "lr_scheduler", "epoch"))


def check_run(tree: object, where: str) -> dict[str, Any]:
    """Return the content of a checkpoint if training can go on from it.

    Raises:
        InputError: it is no dict of weights, optimizer, schedule and epoch; what is missing is named.
    """
    entries = dict(tree) if isinstance(tree, Mapping) else {}
    missing = [key for key in ("model", "optimizer", "lr_scheduler", "epoch") if key not in entries]
    if missing:
        raise InputError(
            f"{where}: has no {', '.join(missing)}, so no training can go on from it; to begin a run with its weights, "
            "load them with load_weights"
        )
    epoch = entries["epoch"]
    # One that was stopped in its first epoch has finished none.
    if not (epoch == -1 or (_is_number(epoch) and float(epoch) == int(epoch))):
        raise InputError(f"{where}: epoch is {epoch!r}; it is the number of the last epoch that was over")
    return entries


def check_optimizer_state(state: object, names: Sequence[Sequence[str]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check the state dict of an AdamW, in the layout of ``torch.optim.AdamW.state_dict``.

    Parameters may be without state, as those are that had no step yet.

    Args:
        state: what was saved.
        names: for each group the names of its parameters in the optimizer that goes on.
        shapes: the shape of each parameter by its name.

    Raises:
        InputError: there are other groups, parameters, shapes or kinds of state; all differences are listed.
    """
    if not (isinstance(state, Mapping) and isinstance(state.get("state"), Mapping)):
        raise InputError('the optimizer state is no dict of "state" and "param_groups", as AdamW.state_dict returns it')
    groups = state.get("param_groups")
    if not isinstance(groups, Sequence) or not all(
        isinstance(g, Mapping) and _are_indices(g.get("params")) for g in groups
    ):
        raise InputError(
            'the "param_groups" of the optimizer state are no list of dicts with "params", a list of indices'
        )
    saved, needed = ([len(members) for members in each] for each in ([g["params"] for g in groups], names))
    if saved != needed:
        raise InputError(
            f"the optimizer state has {len(saved)} groups of {saved} parameters, this optimizer has {len(needed)} of "
            f"{needed}; check --lr_backbone, which freezes the backbone at 0, and the options of the model"
        )
    problems = [problem for number, group in enumerate(groups) for problem in _group_problems(number, group)]
    order = [index for group in groups for index in group["params"]]
    repeated = sorted(index for index, times in Counter(order).items() if times > 1)
    if repeated:
        problems.append(f"parameters {repeated} stand in the groups more than once")
    problems += _name_problems(groups, names)
    by_index = dict(zip(order, (name for group in names for name in group), strict=True))
    for index, entry in state["state"].items():
        if index not in by_index:
            problems.append(f"state of parameter {index!r}, which is in no group")
        else:
            problems += _entry_problems(by_index[index], entry, shapes[by_index[index]])
    if problems:
        raise InputError(_listed("the optimizer state does not fit this optimizer", problems))


def check_schedule_state(state: object, groups: int) -> None:
    """Check the state dict of a StepLR, in the layout of ``torch.optim.lr_scheduler.StepLR.state_dict``.

    Raises:
        InputError: a key is missing, or it is of another number of groups.
    """
    missing = [key for key in _SCHEDULE if not (isinstance(state, Mapping) and key in state)]
    if missing or not isinstance(state, Mapping):
        raise InputError(
            f"the state of the learning rate schedule lacks {', '.join(missing)}; StepLR.state_dict has them"
        )
    for key in ("base_lrs", "_last_lr"):
        if np.shape(state[key]) != (groups,):
            raise InputError(
                f"the state of the learning rate schedule has {key} = {state[key]}; this optimizer has {groups} groups"
            )


def check_gradients(given: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check gradients that are to be set by the names of their parameters.

    Raises:
        InputError: a name is missing or unknown, or a shape differs; all of them are listed.
    """
    problems = [f"missing {name} {list(shape)}" for name, shape in shapes.items() if name not in given]
    problems += [f"unknown {name}" for name in given if name not in shapes]
    problems += [
        f"{name} has shape {list(np.shape(value))}, not {list(shapes[name])}"
        for name, value in given.items()
        if name in shapes and tuple(np.shape(value)) != shapes[name]
    ]
    if problems:
        raise InputError(_listed("these gradients are not those of the optimizer's parameters", problems))


def _name_problems(groups: Sequence[Mapping[str, Any]], names: Sequence[Sequence[str]]) -> list[str]:
    """Compare the names that PyTorch saves since 2.6, if it was given any."""
    problems = []
    for number, (group, needed) in enumerate(zip(groups, names, strict=True)):
        saved = group.get("param_names")
        if saved is not None and list(saved) != list(needed):
            first = next(
                (pair for pair in zip(saved, needed, strict=False) if pair[0] != pair[1]), (len(saved), len(needed))
            )
            problems.append(f"group {number} has {first[0]} where this optimizer has {first[1]}")
    return problems


def _group_problems(number: int, group: Mapping[str, Any]) -> list[str]:
    problems = [
        f"group {number} has {name} = {group.get(name)!r}" for name in NUMBERS if not _is_number(group.get(name))
    ]
    betas = group.get("betas")
    if not (isinstance(betas, Sequence) and len(betas) == 2 and all(map(_is_number, betas))):
        problems.append(f"group {number} has betas = {betas!r}")
    return problems + [f"group {number} has {name}" for name in VARIANTS if group.get(name)]


def _entry_problems(name: str, entry: object, shape: tuple[int, ...]) -> list[str]:
    if not isinstance(entry, Mapping) or set(entry) != {"step", *MOMENTS}:
        kinds = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else repr(entry)
        return [f"{name} has state {kinds or 'nothing'}, not step, {', '.join(MOMENTS)}"]
    problems = [
        f"{key} of {name} has shape {list(np.shape(entry[key]))}, the parameter has {list(shape)}"
        for key in MOMENTS
        if tuple(np.shape(entry[key])) != shape
    ]
    step = entry["step"]
    if not _is_number(step) or isinstance(step, (bool, np.bool_)) or float(step) != int(step):
        problems.append(f"step of {name} is {step!r}; it is a whole number")
    return problems


def _are_indices(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(index, (int, np.integer)) for index in value)


def _is_number(value: Any) -> bool:
    if value is None or isinstance(value, (str, bytes)) or math.prod(np.shape(value)) != 1:
        return False
    number = float(value)
    return math.isfinite(number) and number >= 0


def _listed(what: str, problems: Sequence[str]) -> str:
    shown = "\n  ".join(problems[:20]) + ("" if len(problems) <= 20 else f"\n  and {len(problems) - 20} more")
    return f"{what} in {len(problems)} places:\n  {shown}"
