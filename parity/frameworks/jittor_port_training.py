"""Losses, gradients and steps of a model of the user's in Jittor; ``torch_port_training`` is the mirror image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import detr_jt  # noqa: F401 - readies Jittor, so it comes before Jittor itself

# isort: split
import jittor as jt
import numpy as np
from jittor import Var, nn

from parity import chance
from parity.choices import Choices
from parity.frameworks.base import Array, EmitEntry
from parity.frameworks.jittor_capture import calling
from parity.frameworks.jittor_port_optim import JittorOptim
from parity.frameworks.jittor_training import JittorTraining
from parity.frameworks.port import Names, PortPasses, direction, flatten, losses_by_name
from parity.frameworks.port_choices import DROPOUT, POOL, RELU, Call, Labels, labels_in, paired


def is_tensor(value: Any) -> bool:
    """Whether a value is a Var."""
    return isinstance(value, Var)


class JittorPortTraining(PortPasses, JittorTraining):
    """Passes of training on a module of the user's; see ``PortPasses``."""

    def __init__(self, args: Any, model: nn.Module, loss: Any, names: Names) -> None:
        super().__init__(args, model, loss, names)
        self.optim = JittorOptim(self.trained, self.names)
        self._pairs: dict[str, str] = {}
        self._counts = [0, 0]

    def trained(self) -> dict[str, Var]:
        """Return the parameters that take a gradient, by the reference's names."""
        return {name: weight for name, weight in self.own_parameters().items() if not weight.is_stop_grad()}

    def rates(self, optimizer: Any) -> list[float]:
        """Return the learning rate of each group, which may be told of the optimizer only."""
        return [group.get("lr", optimizer.lr) for group in optimizer.param_groups]

    def force(self, order: Mapping[str, Any], prefix: str, emit: EmitEntry) -> None:
        """Put drawn gradients in place; the steps that ``backward`` counts are counted here."""
        super().force(order, prefix, emit)
        self.optimizer.n_step = order["number"] + 1

    def gradients(self, batch: Any, given: Mapping[str, Array], split: bool, emit: EmitEntry) -> None:
        """Emit gradients; which choice of the reference belongs to which call is found out first."""
        self.pair(batch, Choices.given_in(given))
        super().gradients(batch, given, split, emit)

    def step(
        self, order: Mapping[str, Any], batch: Any, given: Mapping[str, Array], emit: EmitEntry
    ) -> dict[str, Array]:
        """Take one step; likewise."""
        self.pair(batch, Choices.given_in(given), (order["seed"], order["number"]))
        return super().step(order, batch, given, emit)

    def told(self) -> dict[str, Array]:
        """Return how many choices were given in the last pass, and how many of them were followed."""
        return {"choices": np.array(self._counts)}

    def pair(self, batch: Any, choices: Choices, dropout: tuple[int, int] | None = None) -> None:
        """Find out which choice belongs to which call, in a pass that leaves the model as it was."""
        self._pairs = {}
        if choices.given is None:
            self._counts = [0, 0]
            return
        kept = {name: value.numpy() for name, value in self.state().items() if value.is_stop_grad()}
        chooser = _Choosing(Choices(), dropout, self._names())
        with jt.no_grad(), _seen_by(chooser):
            self.run(batch)
        for name, value in self.state().items():
            if name in kept:
                value.update(jt.array(kept[name], dtype=str(value.dtype)))
        calls = [Call(label, x.numpy(), output.numpy()) for label, x, output in chooser.seen]
        self._pairs = paired(calls, choices)
        self._counts = [len(labels_in(choices)), len(self._pairs)]

    @contextmanager
    def choosing(self, choices: Choices, dropout: tuple[int, int] | None = None) -> Iterator[None]:
        """Impose choices; with a seed and a step also draw the masks of dropouts."""
        with _seen_by(_Choosing(choices, dropout, self._names(), self._pairs)):
            yield

    def _names(self) -> dict[int, str]:
        return {id(module): name for name, module in self.named}

    def run(self, batch: Any, to_inputs: bool = False) -> tuple[dict[str, Var], Var]:
        """Run model and loss."""
        args, kwargs, targets = batch
        outputs = self.model(*args, **kwargs)
        if self.loss is None:
            parts = [(path, out) for path, out in flatten(outputs, is_tensor) if out.dtype.is_float()]
            losses = {path or "output": (out * self._direction(path, out)).sum() for path, out in parts}
        else:
            losses = losses_by_name(self.loss(outputs, targets), is_tensor)
        return losses, sum(one.reshape(-1) for one in losses.values())

    def _direction(self, path: str, out: Var) -> Var:
        return jt.array(direction(path, out.shape), dtype=str(out.dtype)).sync()


@contextmanager
def _seen_by(chooser: _Choosing) -> Iterator[None]:
    """Let a chooser answer in place of modules and functions that choose."""
    plain = nn.relu
    nn.relu = lambda x: chooser.relu(plain, x)
    try:
        with calling(chooser.call):
            yield
    finally:
        nn.relu = plain


class _Choosing:
    """Sees every ReLU, max pooling and dropout, whether a module or a function.

    Args:
        choices: to impose; those that nobody has given are noted in ``seen`` with what each call took and returned.
        dropout: seed and step of the masks to draw; None draws none.
        names: of modules by identity.
        pairs: which choice belongs to which call.
    """

    def __init__(
        self,
        choices: Choices,
        dropout: tuple[int, int] | None,
        names: Mapping[int, str],
        pairs: dict[str, str] | None = None,
    ) -> None:
        self.labels = Labels(choices, pairs)
        self.seen: list[tuple[str, Var, Var]] = []
        self._noting = choices.given is None and pairs is None
        self.dropout = dropout
        self.names = names

    def call(self, plain: Any, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a module, with its name on the stack where it has one."""
        name = self.names.get(id(module))
        if name is not None:
            self.labels.stack.append(name)
        try:
            if isinstance(module, nn.ReLU):
                return self.relu(lambda x: plain(module, x), *args)
            if isinstance(module, nn.Pool) and module.op == "maximum":
                return self.pool(lambda x: plain(module, x, **kwargs), *args)
            if isinstance(module, nn.Dropout) and self.dropout is not None and module.is_train and module.p > 0:
                return self.dropped(module.p, *args)
            return plain(module, *args, **kwargs)
        finally:
            if name is not None:
                self.labels.stack.pop()

    def relu(self, plain: Any, x: Var) -> Var:
        """Return the output of a ReLU."""
        label = self.labels.next(RELU)
        given = self.labels.given(label, x.shape)
        return self._own(label, plain, x) if given is None else jt.ternary(jt.array(given), x, jt.zeros_like(x))

    def pool(self, plain: Any, x: Var) -> Any:
        """Return the output of a max pooling."""
        label = self.labels.next(POOL)
        given = self.labels.given(label, x.shape)
        if given is None:
            return self._own(label, plain, x)
        index = jt.array(given.reshape(*given.shape[:2], -1))
        return jt.gather(x.flatten(2), 2, index).reshape(given.shape)

    def _own(self, label: str, plain: Any, x: Var) -> Any:
        output = plain(x)
        if self._noting and isinstance(output, Var):
            self.seen.append((label, x, output))
        return output

    def dropped(self, p: float, x: Var) -> Var:
        """Return the output of a dropout whose mask is drawn, in the order in which Jittor's computes it."""
        assert self.dropout is not None
        mask = chance.keep_mask(*self.dropout, self.labels.next(DROPOUT), tuple(x.shape), p)
        return (x * jt.array(mask).int32() / (1.0 - p)).cast(str(x.dtype))
