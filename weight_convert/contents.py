"""What a checkpoint holds: where its weights are, what lies beside them, and all of it in a line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from weight_convert.errors import CheckpointError, printable
from weight_convert.tree import Array

_WEIGHTS = ("model", "state_dict")
_COUNTERS = ("epoch", "iteration", "step")


def weights_key(tree: Any) -> str | None:
    """Under which key the weights are: "model", "state_dict", or None where the tree itself is a state dict."""
    if isinstance(tree, dict):
        return next((key for key in _WEIGHTS if isinstance(tree.get(key), dict)), None)
    return None


def state_dict_of(tree: Any) -> dict[str, Array]:
    """The weights in a tree: under "model", under "state_dict", or the tree itself.

    Raises:
        CheckpointError: there are none, or something among them is not an array.
    """
    key = weights_key(tree)
    where = "the file"
    if key is not None:
        where, tree = repr(key), tree[key]
    if not isinstance(tree, dict) or not any(isinstance(value, (np.ndarray, np.generic)) for value in tree.values()):
        raise CheckpointError(f'{where} holds no tensors by name; expected {{"model": ...}} or a bare state dict')
    for name, value in tree.items():
        if not isinstance(name, str) or not isinstance(value, (np.ndarray, np.generic)):
            raise CheckpointError(f"{where} holds {name!r}, a {type(value).__name__}, among the tensors")
    return {name: np.asarray(value) for name, value in tree.items()}


def beside_weights(tree: Any) -> tuple[str, ...]:
    """The names of all that a whole checkpoint holds beside its weights; none in a bare state dict."""
    key = weights_key(tree)
    return () if key is None else tuple(_shown(name) for name in tree if name != key)


def describe(tree: Any) -> str:
    """All that a checkpoint holds, in its own order: ``458 weights, optimizer of 222 parameters in 2 groups, epoch 7``.

    Args:
        tree: what `weight_convert.read` returns.
    """
    if not isinstance(tree, dict):
        return f"a {type(tree).__name__} of {len(tree)}" if isinstance(tree, (list, tuple)) else type(tree).__name__
    key = weights_key(tree)
    if key is None and tree and all(isinstance(value, (np.ndarray, np.generic)) for value in tree.values()):
        return f"{len(tree)} weights"
    parts = []
    for name, value in tree.items():
        if name == key:
            parts.append(f"{len(value)} weights")
        elif _is_optimizer(value):
            parameters = sum(len(group["params"]) for group in value["param_groups"])
            parts.append(
                f"{_shown(name)} of {_count(parameters, 'parameter')} in {_count(len(value['param_groups']), 'group')}"
            )
        elif isinstance(value, argparse.Namespace):
            parts.append(f"{_shown(name)} ({len(vars(value))})")
        elif name in _COUNTERS and isinstance(value, (int, float, np.generic)):
            parts.append(f"{name} {value}")
        else:
            parts.append(_shown(name))
    return ", ".join(parts) or "nothing"


def _shown(name: object) -> str:
    return printable(str(name), 160)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _is_optimizer(value: Any) -> bool:
    """Whether a value has the layout of the state that PyTorch's optimizers save."""
    if not isinstance(value, Mapping) or not isinstance(value.get("state"), Mapping):
        return False
    groups = value.get("param_groups")
    return isinstance(groups, list) and all(
        isinstance(group, Mapping) and isinstance(group.get("params"), list) for group in groups
    )
