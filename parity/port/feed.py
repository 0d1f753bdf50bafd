"""What a model is fed: nested inputs and targets, taken apart into arrays and put together again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detr_common.errors import InputError

Array = npt.NDArray[Any]

_LAYOUT = "feed/layout"


@dataclass(frozen=True)
class ModelFeed:
    """Inputs of a model and targets of its loss.

    Attributes:
        inputs: an array; a tuple or list of positional arguments; or a dict of keyword arguments. Arguments may be
            nested lists, tuples and dicts of arrays, numbers, strings, booleans and None.
        targets: what the loss is given beside the outputs, nested likewise; None for nothing.
    """

    inputs: Any
    targets: Any = None

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name, and how they lie.

        Raises:
            InputError: an argument is of a type that cannot be sent.
        """
        arrays: dict[str, Array] = {}
        layout = [_taken_apart(part, arrays, name) for name, part in self.parts().items()]
        return {_LAYOUT: np.frombuffer(json.dumps(layout).encode(), np.uint8), **arrays}

    def parts(self) -> dict[str, Any]:
        """Return positional arguments, keyword arguments and targets."""
        if isinstance(self.inputs, Mapping):
            return {"args": (), "inputs": dict(self.inputs), "targets": self.targets}
        args = self.inputs if isinstance(self.inputs, (tuple, list)) else (self.inputs,)
        return {"inputs": tuple(args), "kwargs": {}, "targets": self.targets}


def put_together(arrays: Mapping[str, Array], tensor: Callable[[Array], Any]) -> tuple[Any, Any, Any]:
    """Return positional arguments, keyword arguments and targets, as ``ModelFeed.arrays`` took them apart.

    Args:
        arrays: what was sent; others beside them are left alone. Where nothing was, as for steps on drawn gradients,
            there are no arguments.
        tensor: makes a framework's tensor of an array.
    """
    if _LAYOUT not in arrays:
        return (), {}, None
    layout = json.loads(bytes(arrays[_LAYOUT]))
    args, kwargs, targets = (_put_together(part, arrays, tensor) for part in layout)
    return args, kwargs, targets


def _taken_apart(value: Any, arrays: dict[str, Array], path: str) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        name = f"feed/{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, Mapping):
        return {"dict": {str(key): _taken_apart(part, arrays, f"{path}.{key}") for key, part in value.items()}}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_taken_apart(part, arrays, f"{path}.{i}") for i, part in enumerate(value)]}
    if isinstance(value, (bool, int, float, str)) or value is None:
        return {"value": value}
    what = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
    raise InputError(
        f"{path}: is {what}; give arrays of numbers or booleans, nested in lists, tuples and dicts, beside plain values"
    )


def _put_together(layout: Any, arrays: Mapping[str, Array], tensor: Callable[[Array], Any]) -> Any:
    ((kind, part),) = layout.items()
    if kind == "array":
        return tensor(arrays[part])
    if kind == "dict":
        return {key: _put_together(one, arrays, tensor) for key, one in part.items()}
    if kind in ("list", "tuple"):
        parts = [_put_together(one, arrays, tensor) for one in part]
        return tuple(parts) if kind == "tuple" else parts
    return part
