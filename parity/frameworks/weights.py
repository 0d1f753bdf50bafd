"""Weights on their way from the reference to the port: a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from parity.wire import Array


def read_weights(path: Path) -> dict[str, Array]:
    """Return the weights that the reference exported."""
    return dict(load_file(path))


def write_weights(path: Path, weights: Mapping[str, Array]) -> None:
    """Write weights so that ``read_weights`` finds them."""
    save_file({name: np.ascontiguousarray(array) for name, array in weights.items()}, path)
