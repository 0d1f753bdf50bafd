"""Where the first value that is not finite came from: NaN spreads, and a loss that is NaN does not say whence."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detr_common.errors import NotFiniteError


def check_losses(losses: Mapping[str, float]) -> None:
    """Check that there is something to learn from.

    Raises:
        NotFiniteError: a loss is NaN or infinite; the first is named.
    """
    for name, value in losses.items():
        if not math.isfinite(value):
            raise NotFiniteError(f"{name} is {value}")


def check_images(images: Sequence[npt.NDArray[Any]]) -> None:
    """Check the images of a batch: where Jittor rectifies or pools a NaN it becomes a number, and is never seen again.

    Raises:
        NotFiniteError: a value is NaN or infinite; the first is named.
    """
    for number, image in enumerate(images):
        wrong = ~np.isfinite(image)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise NotFiniteError(
                f"image {number} of the batch: {image[place]} at (channel, row, column) {place}, one of "
                f"{int(wrong.sum())} such values; look at how it is read and normalised"
            )


def check_mask_logits(logits: npt.NDArray[Any]) -> None:
    """Check the masks of a batch [B, Q, H, W]: in a comparison with a threshold a NaN becomes a pixel like any other.

    Raises:
        NotFiniteError: a value is NaN or infinite; the first is named.
    """
    wrong = ~np.isfinite(logits)
    if wrong.any():
        image, query = (int(i) for i in np.argwhere(wrong)[0][:2])
        raise NotFiniteError(
            f"pred_masks: image {image}, query {query} has a value that is not finite ({int(wrong.sum())} of "
            f"{wrong.size} are not); the model has diverged"
        )


def gradients_told(norm: float, largest: Mapping[str, float]) -> str:
    """Say which gradients make their common norm NaN or infinite.

    Args:
        norm: of all gradients together.
        largest: largest absolute value of the gradient of each parameter by its name.
    """
    wrong = [name for name, value in largest.items() if not math.isfinite(value)]
    if not wrong:
        name = max(largest, key=largest.__getitem__)
        return f"the norm of the gradients is {norm}; each is finite, the largest, of {name}, up to {largest[name]:.3g}"
    shown = ", ".join(wrong[:5]) + (" ..." if len(wrong) > 5 else "")
    return f"the norm of the gradients is {norm}; {len(wrong)} gradients are not finite: {shown}"


def leaves(value: Any) -> Iterator[Any]:
    """Yield what stands in lists, tuples, dicts and nested tensors, however deep."""
    if isinstance(value, Mapping):
        value = value.values()
    elif hasattr(value, "tensors"):
        value = (value.tensors,)
    elif not isinstance(value, (list, tuple)):
        yield value
        return
    for one in value:
        yield from leaves(one)


class Watch:
    """Follows a forward pass and notes where the first value that is not finite came from.

    Args:
        names: of the modules, by their identity.
        finite: whether a leaf of what crosses a module is finite; true of all that is no tensor of floats.

    Attributes:
        story: where it came from, in words; empty as long as all is finite.
    """

    def __init__(self, names: Mapping[int, str], finite: Callable[[Any], bool]) -> None:
        self._names = names
        self._finite = finite
        self._inside: list[str] = []
        self.story = ""

    def enter(self, module: object, given: object) -> None:
        """Look at what a module is given."""
        name = self._names.get(id(module), type(module).__name__)
        if not self.story and not all(map(self._finite, leaves(given))):
            whose = f"module {self._inside[-1]} hands it to {name}" if self._inside else "it is in the images"
            self.story = f"where the first value that is not finite comes from: {whose}"
        self._inside.append(name)

    def leave(self, weights: Mapping[str, Any], output: object) -> None:
        """Look at what the module that was entered last returns; ``weights`` are its own."""
        name = self._inside.pop()
        if self.story or all(map(self._finite, leaves(output))):
            return
        broken = [weight for weight, value in weights.items() if not self._finite(value)]
        why = f", whose {' and '.join(broken)} is not finite itself" if broken else ""
        self.story = f"where the first value that is not finite comes from: module {name} returns it{why}"


def told(story: str) -> str:
    """Return the end of an error message: the story of a `Watch`, or that nothing was found."""
    return story or "when the batch was run again, all modules returned finite values"
