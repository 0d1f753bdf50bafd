"""Float64 in Jittor, for models that were not written for it.

Jittor makes float32 of every Python number, also beside a float64 Var, so that ``x * 0.1`` has an error of 1e-8 and a
faithful port would fail the float64 comparison. Here numbers beside a float64 Var stay what they are; beside a float32
Var nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import detr_jt  # noqa: F401 - readies Jittor, so it comes before Jittor itself

# isort: split
import jittor as jt
import numpy as np
from jittor import Var

_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_NAMED = (
    *("add", "subtract", "multiply", "divide", "floor_divide", "mod", "pow", "maximum", "minimum"),
    *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "ternary", "ternary_out_hint"),
)
_UNARY = ("sqrt", "exp", "log", "sin", "cos", "tanh", "sigmoid")
# Each makes a float32 Var of numbers where no dtype is given.
_CREATING = ("array", "full")
_NARROW = ("float32", "float16", "bfloat16")
_RANGES = {"linspace": np.linspace, "arange": np.arange}


@contextmanager
def float64_numbers(wanted: bool) -> Iterator[None]:
    """Keep Python's numbers in float64 beside float64 Vars, and 64-bit arrays as they are, while the block runs.

    Args:
        wanted: False does nothing.
    """
    if not wanted:
        yield
        return
    patches = [(Var, f"__{kind}{name}__") for name in _OPERATORS for kind in ("", "r", "i")]
    patches += [(Var, f"__{name}__") for name in _COMPARISONS]
    patches += [(place, name) for name in _NAMED for place in (Var, jt)]
    plain = {(place, name): getattr(place, name) for place, name in patches if hasattr(place, name)}
    made = {name: getattr(jt, name) for name in (*_CREATING, *_RANGES, *_UNARY)}
    instead = {name: _in_float64(made[name]) for name in _CREATING}
    instead |= {name: _range(made[name], numpys) for name, numpys in _RANGES.items()}
    instead |= {name: _of_number(made[name]) for name in _UNARY}
    for place in (Var, jt):
        plain |= {(place, name): getattr(place, name) for name in ("mean", "erf", "reduce")}
    with jt.flag_scope(auto_convert_64_to_32=0):
        try:
            for (place, name), function in plain.items():
                setattr(place, name, _with_exact_gradient(name, function) or _exact(function))
            for name, function in instead.items():
                setattr(jt, name, function)
            yield
        finally:
            for (place, name), function in plain.items():
                setattr(place, name, function)
            for name, function in made.items():
                setattr(jt, name, function)


def _exact(function: Any) -> Any:
    """Return a function that takes numbers, and integers beside them or beside float64 Vars, as float64.

    Jittor itself makes float32 of an integer Var times a number, and also of one times a float64 Var.
    """
    chooses = function.__name__.startswith("ternary")

    @wraps(function)
    def exact(*args: Any, **kwargs: Any) -> Any:
        kinds = {str(one.dtype) for one in args if isinstance(one, Var)}
        if kinds.isdisjoint(_NARROW) and ("float64" in kinds or any(isinstance(one, float) for one in args)):
            condition, rest = (args[:1], args[1:]) if chooses else ((), args)
            args = (*condition, *map(_widened, rest))
            kwargs = {key: _constant(one) for key, one in kwargs.items()}
        return function(*args, **kwargs)

    return exact


def _widened(value: Any) -> Any:
    if isinstance(value, Var):
        return value if value.dtype == "float64" else value.cast("float64")
    return _constant(value)


def _constant(value: Any) -> Any:
    if not isinstance(value, (float, np.floating)):
        return value
    number = float(value)
    if number not in _known:
        # Computed at once: what is left to a kernel is compiled into it, and such kernels have crashed the compiler.
        _known[number] = _array(np.float64(number), dtype="float64").stop_grad().sync()
    return _known[number]


# NaN equals nothing and so is made anew each time; all others are made once.
_known: dict[float, Var] = {}
_array = jt.array
# Jittor takes the gradient of erf with this factor, rounded to float32.
_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
_ERF_GRADIENT = _TWO_OVER_ROOT_PI / float(np.float32(_TWO_OVER_ROOT_PI))


def _with_exact_gradient(name: str, function: Any) -> Any:
    """Return a function whose gradient of a float64 Var has no factor that is rounded to float32; None for others."""

    def mean(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Var) or x.dtype != "float64":
            return function(x, *args, **kwargs)
        return _exact_mean(x, *args, **kwargs)

    def reduce(x: Any, op: str, *args: Any, **kwargs: Any) -> Any:
        exact = op == "mean" and isinstance(x, Var) and x.dtype == "float64"
        return _exact_mean(x, *args, **kwargs) if exact else function(x, op, *args, **kwargs)

    def erf(x: Any) -> Any:
        values = function(x)
        if not isinstance(x, Var) or x.dtype != "float64":
            return values
        # The difference is zero; what flows back through it is scaled.
        return values.detach() + (values - values.detach()) * _constant(_ERF_GRADIENT)

    exact: dict[str, Any] = {"mean": mean, "reduce": reduce, "erf": erf}
    return exact.get(name)


def _exact_mean(x: Var, *args: Any, **kwargs: Any) -> Var:
    total = x.sum(*args, **kwargs)
    return total / _constant(float(x.numel() / max(1, total.numel())))


def _in_float64(function: Any) -> Any:
    """Return a function that makes Vars of numbers in float64 unless a dtype is given."""

    @wraps(function)
    def made(*args: Any, **kwargs: Any) -> Any:
        numbers = [one for one in args if isinstance(one, (float, list, tuple))]
        if kwargs.get("dtype") is None and any(isinstance(one, float) for one in _flat(numbers)):
            kwargs["dtype"] = "float64"
        return function(*args, **kwargs)

    return made


def _of_number(function: Any) -> Any:
    @wraps(function)
    def computed(value: Any, *args: Any, **kwargs: Any) -> Any:
        return function(_constant(value), *args, **kwargs)

    return computed


def _range(function: Any, numpys: Any) -> Any:
    """Return a function that makes a range of floats as NumPy does."""

    @wraps(function)
    def made(*args: Any, **kwargs: Any) -> Any:
        if function.__name__ == "linspace" or any(isinstance(one, float) for one in (*args, *kwargs.values())):
            return _array(np.asarray(numpys(*args, **kwargs), np.float64), dtype="float64")
        return function(*args, **kwargs)

    return made


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value
