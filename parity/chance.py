"""Random numbers of training, the same for both frameworks: keyed by seed, step and module, whatever came before."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def keep_mask(seed: int, step: int, module: str, shape: tuple[int, ...], p: float) -> npt.NDArray[np.bool_]:
    """Draw what a dropout keeps.

    Args:
        seed: of the run.
        step: of training.
        module: name of the dropout, with ``#K`` at its K-th further call.
        shape: of its input.
        p: probability with which a value is dropped.
    """
    kept: npt.NDArray[np.bool_] = _generator(seed, step, f"dropout/{module}").random(shape) >= p
    return kept


class Drawing:
    """Masks of dropouts in one pass after another.

    Args:
        key: returns the seed of the run and the number of the step that is under way.
    """

    def __init__(self, key: Callable[[], tuple[int, int]]) -> None:
        self._key = key
        self._last: tuple[int, int] | None = None
        self._calls: Counter[str] = Counter()

    def mask(self, module: str, shape: tuple[int, ...], p: float) -> npt.NDArray[np.bool_]:
        """Return what the next call of a dropout keeps; see ``keep_mask``."""
        key = self._key()
        if key != self._last:
            self._last = key
            self._calls.clear()
        count = self._calls[module]
        self._calls[module] += 1
        return keep_mask(*key, f"{module}#{count}" if count else module, shape, p)


def gradient(seed: int, step: int, parameter: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Draw a gradient that tries an optimizer: of its own scale at every step, with zeros and with tiny values.

    float32, so that the optimizers of both precisions are given the same numbers.
    """
    generator = _generator(seed, step, f"gradient/{parameter}")
    values = generator.standard_normal(shape) * 10.0 ** generator.uniform(-6, -1)
    kind = generator.random(shape)
    values = np.where(kind < 0.05, 0.0, np.where(kind < 0.1, values * 1e-12, values))
    return np.asarray(values, dtype=np.float32)


def norm(values: Array) -> float:
    """Return the 2-norm of all values, added in float64."""
    return math.sqrt(float(np.sum(np.square(values, dtype=np.float64))))


def clipped(gradients: dict[str, Array], max_norm: float) -> dict[str, Array]:
    """Return gradients scaled down to a common 2-norm of ``max_norm`` where theirs is larger; 0 leaves them.

    What is given is empty afterwards: two copies of all gradients would be much memory.
    """
    common = math.hypot(*(norm(gradients[name]) for name in sorted(gradients)))
    factor = max_norm / common if 0 < max_norm < common else None
    scaled = {}
    for name in list(gradients):
        value = gradients.pop(name)
        scaled[name] = value if factor is None else value * value.dtype.type(factor)
    return scaled


def _generator(*key: Any) -> np.random.Generator:
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
