"""bfloat16 in a ``.pkl``: stored as the float32 of the same value, with a note (see `note`) of which arrays these are.

NumPy has no bfloat16. An array of ml_dtypes' would need that package wherever the file is loaded, and Jittor cannot
make a Var of it; of float32 it can.
"""

from __future__ import annotations

import numpy as np

from weight_convert.admitted import BFLOAT16
from weight_convert.errors import CheckpointError
from weight_convert.tree import Array


def widen(array: Array) -> Array:
    """The float32 of every value; NaN keep their bits."""
    bits = np.ascontiguousarray(array).reshape(-1).view(np.uint16).astype(np.uint32) << 16
    return bits.view(np.float32).reshape(array.shape)


def narrow(array: Array) -> Array:
    """Undo `widen`.

    Raises:
        CheckpointError: the array does not come from `widen`.
    """
    bits = array.reshape(-1).view(np.uint32) if array.dtype == np.float32 else None
    if bits is None or (bits & 0xFFFF).any():
        raise CheckpointError("is damaged: an array noted as bfloat16 holds other numbers")
    return (bits >> 16).astype(np.uint16).view(BFLOAT16).reshape(array.shape)
