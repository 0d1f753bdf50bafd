"""What a line gave, in a form that crosses processes and can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Outcome:
    """What became of a line.

    Attributes:
        kind: ``value``, ``raised``, ``died`` or ``hung``.
        value: numbers, strings, None, lists and ``{"shape", "values"}`` of arrays.
        detail: the exception and its message, or how the process ended or was stopped.
    """

    kind: str
    value: Any = None
    detail: str = ""

    @property
    def exception(self) -> str:
        """Name of the exception that was raised."""
        return self.detail.split(":", 1)[0] if self.kind == "raised" else ""


def plain(value: Any) -> Any:
    """Turn the value of a line into what JSON can hold.

    Tensors of both frameworks, arrays, shapes, dtypes, numbers, strings and containers of these are taken.

    Raises:
        TypeError: something else.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    kind = f"{type(value).__module__}.{type(value).__name__}"
    if kind.endswith("NanoVector") or isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if kind.endswith("NanoString") or kind == "torch.dtype":
        return str(value).removeprefix("torch.")
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        return {"shape": list(array.shape), "values": array.reshape(-1).tolist()}
    raise TypeError(f"the value of a line is a {kind}; let the line end with a tensor, a number, a shape or a dtype")


def distance(value: Any, truth: Any) -> float:
    """Return how far a value is from another, as a fraction of the other's largest absolute value.

    Infinite where they differ in kind, shape or anything that is no number.
    """
    if is_array(value) and is_array(truth):
        if value["shape"] != truth["shape"]:
            return float("inf")
        return _array_distance(np.array(value["values"]), np.array(truth["values"]))
    if isinstance(value, list) and isinstance(truth, list):
        if len(value) != len(truth):
            return float("inf")
        return max((distance(v, t) for v, t in zip(value, truth, strict=True)), default=0.0)
    if isinstance(value, dict) and isinstance(truth, dict):
        if value.keys() != truth.keys():
            return float("inf")
        return max((distance(value[k], truth[k]) for k in truth), default=0.0)
    numbers = all(isinstance(v, (int, float)) for v in (value, truth))
    if numbers and isinstance(value, bool) == isinstance(truth, bool):
        return _array_distance(np.array([value]), np.array([truth]))
    return 0.0 if type(value) is type(truth) and value == truth else float("inf")


def is_array(value: Any) -> bool:
    """Whether this is an array in plain form."""
    return isinstance(value, dict) and set(value) == {"shape", "values"}


def _array_distance(value: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    if "O" in (value.dtype.kind, truth.dtype.kind):
        return 0.0 if value.tolist() == truth.tolist() else float("inf")
    value, truth = value.astype(np.float64), truth.astype(np.float64)
    finite = np.isfinite(truth)
    if not np.array_equal(value[~finite], truth[~finite], equal_nan=True) or not np.isfinite(value[finite]).all():
        return float("inf")
    error = float(np.abs(value[finite] - truth[finite]).max(initial=0.0))
    scale = float(np.abs(truth[finite]).max(initial=0.0))
    return 0.0 if error == 0 else error / scale if scale else float("inf")
