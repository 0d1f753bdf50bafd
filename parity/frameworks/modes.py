"""Which modules do something else in training than in evaluation: those whose code asks which of the two it is."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

# Under one of these names a module of either framework is asked for its mode.
_ASKED = {"training", "is_train", "is_training"}
# What a user sets of such a module; a port that sets it otherwise is found in training only.
_SET = ("p", "drop_prob", "dropout", "momentum")


def in_training(named: Iterable[tuple[str, Any]], base: type) -> dict[str, dict[str, Any]]:
    """Return the modules whose own code asks whether they are in training.

    Args:
        named: modules by name.
        base: the framework's class of all modules, whose own code is not looked at.

    Returns:
        By name ``kind``, the name of the class, and the numbers ``p``, ``momentum`` and the like where it has them.
    """
    known: dict[type, bool] = {}
    found = {}
    for name, module in named:
        kind = type(module)
        if kind not in known:
            known[kind] = any(_ASKED & names for names in map(_names_in, _codes(kind, base)))
        if known[kind]:
            numbers = {key: getattr(module, key, None) for key in _SET}
            found[name] = {"kind": kind.__name__, **{k: v for k, v in numbers.items() if type(v) in (int, float)}}
    return found


def _codes(kind: type, base: type) -> Iterator[CodeType]:
    """Yield the code of a class and of what it inherits below ``base``; a constructor sets a mode and asks for none."""
    for one in kind.__mro__:
        if one is base or one is object or issubclass(base, one):
            continue
        for name, function in vars(one).items():
            unwrapped = inspect.unwrap(function) if callable(function) else function
            if isinstance(unwrapped, FunctionType) and name != "__init__":
                yield unwrapped.__code__


def _names_in(code: CodeType) -> set[str]:
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))
