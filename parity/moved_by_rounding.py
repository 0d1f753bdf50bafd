"""Parameters whose gradients are zero but for rounding, and how far an optimizer may move them any way it likes."""

from __future__ import annotations

from parity.frameworks.training import NAMES_APART
from parity.metrics import measure
from parity.trace import Array, Entry

# A gradient is zero but for rounding if its norm is no more of that of all of them, on both sides.
_ZERO = 1e-12
# Adam divides by the root of the second moment and its eps, which is 1e-8 in both frameworks, so that a gradient far
# below that moves a parameter by its rate times 1e8 of the gradient; the rest is for an eps that is smaller.
_ENLARGED = 1e10
_MEAN = ".running_mean"


class MovedByRounding:
    """What free steps in float64 may leave apart where nothing but rounding is in a gradient.

    So it is with the bias of a convolution in front of a batch norm, which takes it away again: two correct trainings
    part there by more than 1e-9 of the bias within a few steps of Adam, and so do the means of that batch norm.
    """

    def __init__(self) -> None:
        self._far: dict[str, float] | None = None
        self._gradients: dict[str, float] = {}
        self._rate = 0.0

    def note(self, port: Entry, truth: Entry) -> None:
        """Take in the norms of a step's gradients, or its learning rates; of other entries nothing is kept."""
        kind = truth.name.rpartition("/")[2]
        if kind == "norm":
            self._note_norms(port, truth)
        elif kind == "lr" and self._far is not None:
            # The highest so far: it may have dropped since the parameters were moved.
            self._rate = max(self._rate, float(truth.array.max()))
            self._far = {
                name: far + self._rate * min(1.0, _ENLARGED * self._gradients[name]) for name, far in self._far.items()
            }

    def _note_norms(self, port: Entry, truth: Entry) -> None:
        names = truth.inputs.split(NAMES_APART) if truth.inputs else []
        if port.inputs != truth.inputs or truth.array.shape != port.array.shape or truth.array.size != len(names) + 1:
            names = []
        whole, sizes = float(truth.array.reshape(-1)[0]), zip(port.array[1:], truth.array[1:], strict=True)
        gradients = {name: float(max(pair)) for name, pair in zip(names, sizes, strict=False)}
        zero = {name: size for name, size in gradients.items() if size <= _ZERO * whole}
        before = dict.fromkeys(zero, 0.0) if self._far is None else self._far
        self._gradients, self._far = zero, {name: before[name] for name in zero if name in before}

    def explains(self, name: str, value: Array, truth: Array) -> bool:
        """Whether rounding alone may have moved a parameter as far apart, or the mean of the batch norm behind it."""
        label = name.partition("/param/")[2]
        far = self._far or {}
        allowed = max(far.values(), default=0.0) if label.endswith(_MEAN) else far.get(label, 0.0)
        return allowed > 0 and value.shape == truth.shape and measure(value, truth).max_abs <= allowed
