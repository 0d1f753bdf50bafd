"""What the adapters of both frameworks have in common for models that are built by functions of the user's."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from detr_common.errors import InputError
from parity.capture import ROOT
from parity.frameworks import builders, modes
from parity.frameworks.base import CRITERION, Array
from parity.port.feed import put_together
from parity.port.names import Renames, is_ignored

Named = list[tuple[str, Any]]

# What is left of a state dict on both sides: PyTorch counts batches, and nothing depends on it.
_UNCOUNTED = "num_batches_tracked"


class Names:
    """Names of modules and weights as the reference has them, and which modules are looked at.

    Parts of a framework's own layers are not: they are what makes the layer, and differ between frameworks.

    Args:
        args: of the port: ``renames`` and ``ignore``.
        package: whose modules are the framework's own.
        containers: its classes that only hold others.
    """

    def __init__(self, args: Any, package: str, containers: tuple[type, ...]) -> None:
        self.rename = Renames(args.renames)
        self._ignore: Sequence[str] = args.ignore
        self._package = package
        self._containers = containers
        self.ignored: set[str] = set()

    @property
    def unused(self) -> list[str]:
        """Rules of renaming that fitted no module and no weight, and paths to ignore that fitted no module."""
        return [*self.rename.unused, *(path for path in self._ignore if path not in self.ignored)]

    def modules(self, named: Iterable[tuple[str, Any]]) -> Named:
        """Return the modules that are looked at, the outermost first."""
        kept: Named = []
        closed: list[str] = []
        for name, module in named:
            if any(name.startswith(f"{parent}.") for parent in closed):
                continue
            if self._is_own(module) and not isinstance(module, self._containers):
                closed.append(name)
            label = self.rename(name) if name else ROOT
            fitting = [pattern for pattern in self._ignore if name and is_ignored(pattern, label)]
            self.ignored.update(fitting)
            if not fitting:
                kept.append((label, module))
        return kept

    def weights(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters and buffers by the reference's names.

        Raises:
            InputError: two become one.
        """
        own = {name: value for name, value in state.items() if not name.endswith(_UNCOUNTED)}
        renamed = self.rename.check(own)
        return {renamed[name]: value for name, value in own.items()}

    def _is_own(self, module: Any) -> bool:
        return type(module).__module__.split(".")[0] == self._package


def flatten(value: Any, is_tensor: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors of nested outputs, with their paths."""
    if is_tensor(value):
        yield path, value
        return
    if hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    else:
        return
    for key, part in parts:
        yield from flatten(part, is_tensor, f"{path}.{key}" if path else str(key))


def direction(path: str, shape: Sequence[int]) -> Array:
    """Return the weights with which an output enters the total where no loss is given: drawn, the same in both."""
    seed = int.from_bytes(hashlib.sha256(f"direction/{path}".encode()).digest()[:8], "little")
    drawn = np.random.default_rng(seed).standard_normal(tuple(shape)) / max(1, int(np.prod(shape)))
    return np.asarray(drawn, np.float32)


def losses_by_name(value: Any, is_tensor: Any) -> dict[str, Any]:
    """Return what a loss gave by name: one number, or several in a dict, of which the total is the sum.

    Raises:
        ValueError: it gave neither.
    """
    if is_tensor(value):
        return {"loss": value}
    if isinstance(value, Mapping) and value and all(is_tensor(one) for one in value.values()):
        return {str(name): one for name, one in value.items()}
    raise ValueError(
        f"the loss returned {type(value).__name__}; return one number, or a dict of numbers whose sum it is"
    )


class PortAdapter(ABC):
    """What the adapters of both frameworks have in common; see ``parity.frameworks.base.Adapter``.

    Attributes:
        name: of the framework.
        holders: classes of modules that need not run, since they only hold others.
        base: the framework's class of all modules.
    """

    name: str
    holders: tuple[type, ...]
    base: type
    args: Any
    names: Names
    training: Any

    @abstractmethod
    def tensor(self, array: Array) -> Any:
        """Return the framework's tensor of an array, of the dtype of the run."""

    def feed(self, arrays: Mapping[str, Array]) -> Any:
        """Put positional arguments, keyword arguments and targets together."""
        return put_together(arrays, self.tensor)

    def modules(self) -> list[str]:
        """Return the names of the modules that are looked at."""
        return [name for name, _ in self.training.named]

    def unused(self) -> list[str]:
        """Return the rules of renaming, and paths to ignore, that fitted nothing in the model."""
        return self.names.unused

    def resting(self) -> list[str]:
        """Return those that only hold others."""
        return [name for name, module in self.training.named if type(module) in self.holders]

    def in_training(self) -> dict[str, dict[str, Any]]:
        """Return the modules that do something else in training."""
        return modes.in_training(self.training.named, self.base)

    def plant(self, mutant: str) -> None:
        """Refuse: faults are planted in detectors."""
        raise InputError(f"{mutant}: faults of the catalogue are of the detector; change the port itself")

    def made(self, kind: type) -> Any:
        """Return the module that the user's function returns, or that was given.

        Raises:
            InputError: it is none.
        """
        made = self.args.builder
        if isinstance(made, str):
            made = builders.find(made)(**self.args.options)
            builders.refuse_other(self.name, self.args.builder)
        if not isinstance(made, kind):
            due = f"a module of {self.name.replace('torch', 'PyTorch').replace('jittor', 'Jittor')} is due"
            which = f"{self.args.builder} returned" if isinstance(self.args.builder, str) else "what was given is"
            raise InputError(
                f"{which} {type(made).__module__}.{type(made).__qualname__}, where {due}; the reference, of PyTorch, "
                "comes first, then the port to Jittor"
            )
        return made

    def made_loss(self) -> Any:
        """Return the loss that a name stands for, or that was given."""
        loss = builders.find(self.args.loss) if isinstance(self.args.loss, str) else self.args.loss
        return loss() if isinstance(loss, type) else loss


class PortPasses:
    """What the passes of training on a module of the user's have in common.

    Args:
        args: of the port (``parity.port.job.PortJob.args``).
        model: the module.
        loss: called with outputs and targets; None sums the outputs with drawn weights.
        names: of modules and weights.
    """

    def __init__(self, args: Any, model: Any, loss: Any, names: Names) -> None:
        self.args = args
        self.model = model
        self.loss = loss
        self.names = names
        self.named = names.modules(model.named_modules())
        if hasattr(loss, "named_modules"):
            self.named += of_criterion(loss.named_modules())

    def state(self) -> dict[str, Any]:
        """Return parameters and buffers by the reference's names."""
        return self.names.weights(self.model.state_dict())

    def own_parameters(self) -> dict[str, Any]:
        """Return all parameters by the reference's names."""
        return self.names.weights(dict(self.model.named_parameters()))


class Constant:
    """A schedule that leaves the learning rate as it is."""

    def step(self) -> None:
        """Do nothing."""


def check_device(device: str, seen: bool, framework: str) -> None:
    """Refuse a GPU that a framework does not see.

    Raises:
        InputError: it does not.
    """
    if device == "cuda" and not seen:
        raise InputError(f"device cuda: {framework} sees no GPU here; leave the option out")


def of_criterion(named: Iterable[tuple[str, Any]]) -> Named:
    """Return modules of a loss under the name that the losses have in traces."""
    return [(f"{CRITERION}.{name}" if name else CRITERION, module) for name, module in named]
