"""How a port is trained in the steps rung, and how functions of the user's are named so that a worker finds them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detr_common.errors import InputError

Reference = str | Callable[..., Any]


class Optimizer:
    """An optimizer that both frameworks have: ``torch.optim.NAME`` beside ``jittor.optim.NAME``, of all parameters.

    Args:
        name: "AdamW", "Adam", "SGD" or another that both have.
        clip: 2-norm to which all gradients together are clipped before a step; 0 for none.
        drop_every: steps of the schedule (StepLR) after which the rate falls; 0 for no schedule.
        gamma: the factor by which it falls.
        **options: of the optimizer, ``lr`` among them, under names that both have.

    Raises:
        InputError: ``lr`` is missing, or a number is negative.
    """

    def __init__(
        self, name: str, *, clip: float = 0.0, drop_every: int = 0, gamma: float = 0.1, **options: Any
    ) -> None:
        if "lr" not in options:
            raise InputError(f"Optimizer({name!r}): give the learning rate, lr=...")
        for key, value in {"clip": clip, "drop_every": drop_every, "lr": options["lr"]}.items():
            if not value >= 0:
                raise InputError(f"Optimizer({name!r}): {key} is {value}, and must not be negative")
        self.name = name
        self.clip = float(clip)
        self.drop_every = drop_every
        self.gamma = gamma
        self.options = options

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, to be sent."""
        return {"name": self.name, "drop_every": self.drop_every, "gamma": self.gamma, "options": self.options}


def named(function: Reference, what: str) -> str:
    """Return a function as ``FILE.py:NAME`` or ``module:NAME``, under which a worker finds it.

    Args:
        function: such a name already, or a function or class at the top level of a file.
        what: it is for, for messages.

    Raises:
        InputError: the name has no colon, or the function cannot be found by name.
    """
    if isinstance(function, str):
        if ":" not in function:
            raise InputError(f"{what}: {function!r} names no function; write FILE.py:NAME or module:NAME")
        return function
    name = getattr(function, "__qualname__", "")
    if not callable(function) or not name or "<" in name:
        raise InputError(
            f"{what}: {function!r} cannot be found by a worker; give a function at the top level of a file, or its "
            "name as FILE.py:NAME"
        )
    file = inspect.getsourcefile(function)
    module = inspect.getmodule(function)
    if file is None or module is None:
        raise InputError(f"{what}: {name} has no source file; give its name as module:NAME")
    # A file of its own folder cannot be imported by its name elsewhere; a module of a package can only be so.
    return f"{module.__name__}:{name}" if "." in module.__name__ else f"{Path(file).resolve()}:{name}"
