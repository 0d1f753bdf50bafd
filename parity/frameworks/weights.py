"""Weights on their way from the reference to the port: a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from parity.wire import Array


def read_weights(path: Path) -> dict[str, Array]:
    """Return the weights that the reference exported."""
    return dict(load_file(path))


def write_weights(path: Path, weights: Mapping[str, Array], buffers: Collection[str] = ()) -> None:
    """Write weights so that ``read_weights`` finds them, and the names of all buffers, those not saved included."""
    arrays = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    save_file(arrays, path, metadata={"buffers": json.dumps(sorted(buffers))})


def read_buffers(path: Path) -> list[str]:
    """Return the names of the buffers."""
    with safe_open(path, "numpy") as file:
        return list(json.loads(file.metadata()["buffers"]))
