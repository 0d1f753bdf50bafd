"""What takes the longest of the criterion's checks: float32, and many steps of learning."""

from collections.abc import Mapping
from typing import Any

from observe_criterion import learning, losses_of
from sides import Array, Arrays, Torch


def observe(side: Torch, _inputs: Mapping[str, Array]) -> Arrays:
    result: dict[str, Any] = {}
    for name in ("mixed", "crowded"):
        for dtype in ("float32", "float64"):
            result |= {f"{dtype}/{name}/{key}": value for key, value in losses_of(side, name, dtype).items()}
    return result | learning(side)
