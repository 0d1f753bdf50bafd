"""What the passes of training have in common in both frameworks: the modules with their names, and the steps."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from parity import chance
from parity.capture import ROOT
from parity.choices import Choices
from parity.frameworks.base import CRITERION, Array, Batch, EmitEntry
from parity.trace import Entry

# Between names of parameters in an entry's inputs; a recording holds no text that is much longer.
NAMES_APART = ", "
_LONGEST = 50_000

# Of a schedule that never drops no more than this is looked at, twice.
_MOST_EPOCHS = 1000


class Training(ABC):
    """Passes of training on a model and its criterion.

    Args:
        args: options of the detector.
        model: the detector.
        criterion: its losses.

    Attributes:
        optim: the package's ``optimizer``.
        named: all modules by name, the criterion's below ``criterion``.
    """

    optim: Any

    def __init__(self, args: Any, model: Any, criterion: Any) -> None:
        self.args = args
        self.model = model
        self.criterion = criterion
        self.named: list[tuple[str, Any]] = [(name or ROOT, module) for name, module in model.named_modules()]
        self.named += [(f"{CRITERION}.{name}" if name else CRITERION, m) for name, m in criterion.named_modules()]

    @abstractmethod
    def to_numpy(self, value: Any) -> Array:
        """Return the values of a tensor."""

    @abstractmethod
    def trained(self) -> dict[str, Any]:
        """Return the parameters that take a gradient, by name."""

    def state(self) -> dict[str, Any]:
        """Return parameters and buffers by name."""
        state: dict[str, Any] = self.model.state_dict()
        return state

    @abstractmethod
    def train(self) -> None:
        """Put the model in training mode."""

    @abstractmethod
    def choosing(self, choices: Choices, dropout: tuple[int, int] | None = None) -> AbstractContextManager[None]:
        """Note the choices of modules or impose them; with a seed and a step also draw the masks of dropouts."""

    @abstractmethod
    def run(self, batch: Batch, to_inputs: bool = False) -> tuple[dict[str, Any], Any]:
        """Run detector and criterion; return the losses by name and their weighted sum.

        Args:
            batch: what to run on.
            to_inputs: whether gradients flow on to the images, so that every module's output has one; a training stops
                at what it trains.
        """

    def loss_entries(self, losses: Mapping[str, Any], total: Any, prefix: str = "") -> Iterator[Entry]:
        """Yield each loss and the total."""
        for name, value in {**losses, "total": total}.items():
            yield Entry(f"{prefix}loss/{name}", CRITERION, "", self.to_numpy(value))

    def told(self) -> dict[str, Array]:
        """Return what there is to tell of the last pass beside its tensors."""
        return {}

    def prepare(self) -> None:
        """Begin to train, with a new optimizer and a new schedule of learning rates."""
        self.train()
        self.optimizer = self.optim.build_optimizer(self.model, self.args)
        self.schedule = self.optim.build_scheduler(self.optimizer, self.args)

    def finish(self) -> None:
        """Forget the optimizer, with all that it keeps."""
        self.optimizer = self.schedule = None

    def step(
        self, order: Mapping[str, Any], batch: Batch, given: Mapping[str, Array], emit: EmitEntry
    ) -> dict[str, Array]:
        """Take one step of training; see ``parity.frameworks.base.Passes``."""
        choices = Choices.given_in(given)
        prefix = f"step{order['number']}/"
        if order["forced"]:
            if order["number"] == 0:
                emit(Entry(f"{prefix}rates", "schedule", "", self.planned_rates()))
            self.force(order, prefix, emit)
        else:
            with self.choosing(choices, (order["seed"], order["number"])):
                losses, total = self.run(batch)
            self.optim.backward(self.optimizer, total)
            for entry in self.loss_entries(losses, total, prefix):
                emit(entry)
            self.clip(prefix, emit)
        self.optimizer.step()
        if order["drop"]:
            self.schedule.step()
        emit(Entry(f"{prefix}lr", "schedule", "", np.array(self.rates(self.optimizer))))
        for name, weight in self.state().items():
            emit(Entry(f"{prefix}param/{name}", "optimizer", "", self.to_numpy(weight)))
        if order["forced"]:
            self.emit_moments(prefix, emit)
        return choices.made

    def rates(self, optimizer: Any) -> list[float]:
        """Return the learning rate of each group of an optimizer."""
        return [group["lr"] for group in optimizer.param_groups]

    def planned_rates(self) -> Array:
        """Return the learning rates of the groups over the epochs of two drops: a run of a few steps sees none."""
        optimizer = self.optim.build_optimizer(self.model, self.args)
        schedule = self.optim.build_scheduler(optimizer, self.args)
        rows = []
        with warnings.catch_warnings():  # PyTorch's, that no step was taken before
            warnings.simplefilter("ignore")
            for _ in range(2 * min(self.args.lr_drop, _MOST_EPOCHS) + 2):
                rows.append(self.rates(optimizer))
                schedule.step()
        return np.array(rows)

    def force(self, order: Mapping[str, Any], prefix: str, emit: EmitEntry) -> None:
        """Clip drawn gradients; then leave the optimizer the same ones, clipped alike on both sides.

        So the optimizers are given the same numbers to the last digit. Every other step has gradients so small that
        nothing is to be clipped.
        """
        drawn = {
            name: chance.gradient(order["seed"], order["number"], name, tuple(weight.shape))
            for name, weight in self.trained().items()
        }
        if order["number"] % 2:
            drawn = chance.clipped(drawn, self.args.clip_max_norm / 2)
        self.optim.set_gradients(self.optimizer, drawn)
        self.clip(prefix, emit)
        self.optim.set_gradients(self.optimizer, chance.clipped(drawn, self.args.clip_max_norm))

    def clip(self, prefix: str, emit: EmitEntry) -> None:
        """Clip the gradients; emit their common norm before, and the norm of each after."""
        norm = float(self.optim.clip_grad_norm(self.optimizer, self.args.clip_max_norm))
        left = self.optim.gradients(self.optimizer)
        # With the names of those that have a gradient, so that one that is missing can be named.
        fed = NAMES_APART.join(sorted(left))
        values = np.array([norm, *(chance.norm(self.to_numpy(left[name])) for name in sorted(left))], self.args.dtype)
        emit(Entry(f"{prefix}norm", "clip_grad_norm", "", values, inputs=fed if len(fed) < _LONGEST else ""))

    def emit_moments(self, prefix: str, emit: EmitEntry) -> None:
        """Emit what the optimizer keeps of each parameter."""
        for name, state in self.optim.moments(self.optimizer).items():
            for kind, value in state.items():
                # A framework may count steps in a float of its own size; only the number matters.
                array = np.asarray(value, np.float64 if kind == "step" else None).reshape(-1)
                emit(Entry(f"{prefix}{kind}/{name}", "optimizer", "", array))
