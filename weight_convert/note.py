"""What a ``.pkl`` cannot say of its arrays: which were bfloat16, and which are NumPy's in a ``.pth`` too.

The note follows the pickle, where ``pickle.load`` and ``jittor.load`` do not look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weight_convert import bfloat
from weight_convert.admitted import BFLOAT16
from weight_convert.errors import CheckpointError
from weight_convert.tree import Array, NumpyArray, keep_numpy

_BFLOATS, _NUMPYS = "bfloat16", "numpy"


@dataclass
class Note:
    """Indices of arrays, counted in the order in which they are written, each array once."""

    bfloats: set[int] = field(default_factory=set)
    numpys: set[int] = field(default_factory=set)

    def take(self, array: Array, index: int) -> None:
        """Note what is special about the array that is written now."""
        if array.dtype == BFLOAT16:
            self.bfloats.add(index)
        if isinstance(array, NumpyArray):
            self.numpys.add(index)

    def restore(self, array: Array, index: int) -> Array:
        """Make an array that was read what it was when it was written.

        Raises:
            CheckpointError: it is noted as bfloat16 and cannot have been.
        """
        if index in self.bfloats:
            array = bfloat.narrow(array)
        return keep_numpy(array) if index in self.numpys else array

    def data(self) -> dict[str, list[int]]:
        """What is written behind the pickle; empty if there is nothing to note."""
        both = ((_BFLOATS, self.bfloats), (_NUMPYS, self.numpys))
        return {name: sorted(indices) for name, indices in both if indices}


def read_note(data: Any) -> Note:
    """Read what `Note.data` gave.

    Raises:
        CheckpointError: it is something else.
    """
    if isinstance(data, dict) and data and set(data) <= {_BFLOATS, _NUMPYS}:
        lists = data.get(_BFLOATS, []), data.get(_NUMPYS, [])
        # Sets of numbers that are as large as one likes may take for ever.
        if all(type(one) is list and all(type(index) is int and 0 <= index < 2**31 for index in one) for one in lists):
            return Note(*map(set, lists))
    raise CheckpointError("holds something unknown behind its pickle; fetch or save it again")
