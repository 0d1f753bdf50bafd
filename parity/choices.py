"""Choices that modules make: which side of zero a ReLU is on, which pixel a pool takes, which query has which object.

Where rounding alone moves such a choice, the gradients of two correct runs differ by percents. So the choices of the
float64 run are imposed on the float32 runs, and what is left of a difference is rounding or a fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from parity.trace import Array

WANTED = "wanted/"


class Choices:
    """The choices of one pass, made or given.

    Args:
        given: choices to impose by name, as ``made`` has them in the run to follow; None where the pass makes its own.
    """

    def __init__(self, given: Mapping[str, Array] | None = None) -> None:
        self.given = given
        self.made: dict[str, Array] = {}
        self._calls: Counter[str] = Counter()

    @classmethod
    def given_in(cls, arrays: Mapping[str, Array]) -> Choices:
        """Impose the choices that are among arrays; where there are none, the pass makes its own."""
        return cls(arrays if any(name.startswith(("mask/", "index/")) for name in arrays) else None)

    def label(self, module: str) -> str:
        """Return the name of a module's next call."""
        count = self._calls[module]
        self._calls[module] += 1
        return f"{module}#{count}" if count else module

    def choice(self, label: str) -> Array:
        """Return what is given for a call.

        Raises:
            ValueError: nothing is.
        """
        given = self.given or {}
        if f"mask/{label}" in given:
            shape = tuple(given[f"shape/{label}"].tolist())
            return np.unpackbits(given[f"mask/{label}"], count=int(np.prod(shape))).reshape(shape).view(np.bool_)
        if f"index/{label}" not in given:
            raise ValueError(f"{label}: makes a choice here, but did not run so often in the reference")
        return given[f"index/{label}"]

    def pairs(self, label: str) -> list[tuple[Array, Array]]:
        """Return the matching that is given for a call: queries and objects of each image."""
        image, queries, objects, images = self.choice(label)
        return [(queries[image == i], objects[image == i]) for i in range(int(images[0]))]

    def note_mask(self, label: str, mask: Array) -> None:
        """Note a bool mask."""
        self.made[f"mask/{label}"] = np.packbits(mask)
        self.made[f"shape/{label}"] = np.array(mask.shape, dtype=np.int64)

    def note_index(self, label: str, index: Array) -> None:
        """Note indices."""
        self.made[f"index/{label}"] = index

    def note_pairs(self, label: str, pairs: list[tuple[Array, Array]]) -> None:
        """Note a matching as rows of image, query and object, and in a last row the number of images."""
        columns = [(image, q, o, len(pairs)) for image, pair in enumerate(pairs) for q, o in zip(*pair, strict=True)]
        columns = columns or [(-1, 0, 0, len(pairs))]
        self.note_index(label, np.array(columns, dtype=np.int64).T)
