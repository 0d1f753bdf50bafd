"""Losses, gradients and steps of training in Jittor; ``parity.frameworks.torch_training`` is the mirror image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

# The package readies Jittor, so it comes before Jittor itself.
import detr_jt.optimizer as optim
from detr_jt.criterion import total_loss
from detr_jt.layers import Absolute, Clamp, Dropout, Maximum, Minimum, constant
from detr_jt.matcher import HungarianMatcher

# isort: split
import jittor as jt
from jittor import Var, nn

from parity import chance
from parity.capture import ROOT, Captured, Recent, portions
from parity.choices import WANTED, Choices
from parity.frameworks.base import Array, Batch, EmitEntry, gradient_name, of_losses
from parity.frameworks.jittor_capture import Named, calling, capturing
from parity.frameworks.training import Training
from parity.trace import Entry

# What need not run itself, since it may only hold others. A list of modules is a Sequential in Jittor.
HOLDERS = (nn.Sequential, nn.ModuleList, nn.ParameterList)

# Modules that choose: where rounding alone moves a choice, a gradient jumps.
CHOOSING = (nn.ReLU, nn.Pool, HungarianMatcher, Dropout, Absolute, Minimum, Maximum, Clamp)

# Gradients that are computed at once.
PART_BYTES = 2**28


class JittorTraining(Training):
    """Passes of training in Jittor; see ``parity.frameworks.base.Passes``."""

    optim = optim

    def to_numpy(self, value: Var) -> Array:
        """Return the values of a Var."""
        array: Array = value.numpy()
        return array

    def trained(self) -> dict[str, Var]:
        """Return the parameters that take a gradient, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if not weight.is_stop_grad()}

    def train(self) -> None:
        """Put the model in training mode."""
        for module in self.model.modules():
            module.is_train = True

    def choose(self, batch: Batch) -> dict[str, Array]:
        """Refuse: the reference chooses, and the port follows."""
        raise ValueError("choices are taken from the reference, which is PyTorch")

    def losses(self, batch: Batch, emit: EmitEntry) -> None:
        """Emit predictions, what crosses the criterion's modules, and each loss."""
        held: list[Captured] = []
        recent = Recent()

        def note(c: Captured) -> None:
            if of_losses(c.name):
                held.append(c)

        try:
            with jt.no_grad(), capturing(self.named, self.model, note):
                losses, total = self.run(batch)
        finally:
            for c in held:
                emit(Entry(c.name, c.owner, c.source, c.tensor.numpy(), c.caller, c.inputs, recent.find(c)))
        for entry in self.loss_entries(losses, total):
            emit(entry)

    def gradients(self, batch: Batch, given: Mapping[str, Array], split: bool, emit: EmitEntry) -> None:
        """Emit gradients in the order of the backward pass; each parameter's before those of its module's inputs."""
        weights = self.plain_gradients(batch, given)
        jt.gc()
        self.emit_backwards(*self.flowing_back(batch, given, split), weights, emit)
        self.emit_weights(weights, emit)

    def plain_gradients(self, batch: Batch, given: Mapping[str, Array]) -> dict[str, Array]:
        """Return the gradient of each parameter, of a pass in which nothing else is asked for.

        Gradients of what lies between, if Jittor is asked for them too, part what it else runs as one kernel.
        """
        weights = self.trained()
        with self.choosing(Choices.given_in(given)):
            _, total = self.run(batch)
        gradients = jt.grad(total, list(weights.values()))
        jt.sync(gradients)
        return {name: gradient.numpy() for name, gradient in zip(weights, gradients, strict=True)}

    def flowing_back(
        self, batch: Batch, given: Mapping[str, Array], split: bool
    ) -> tuple[list[Captured], dict[Hashable, Var]]:
        """Return what was captured and is wanted, without its tensors, and gradients by node, yet to be computed."""
        events: list[Captured] = []

        def note(c: Captured) -> None:
            if WANTED + gradient_name(c.name) in given:
                events.append(c)

        with self.choosing(Choices.given_in(given)), capturing(self.named, self.model, note, split):
            _, total = self.run(batch, to_inputs=True)
        # Each node once: of two targets that are the same node, Jittor gives one a gradient of zero.
        nodes = {c.key: c.tensor for c in events}
        gradients = jt.grad(total, list(nodes.values())) if nodes else []
        return [replace(c, tensor=None) for c in events], dict(zip(nodes, gradients, strict=True))

    def emit_backwards(
        self, events: list[Captured], gradients: dict[Hashable, Var], weights: dict[str, Array], emit: EmitEntry
    ) -> None:
        """Run backward and emit, each gradient of a parameter where its module is done with, which takes it out.

        A part is computed and let go before the next, so that Jittor never has all of them in memory.
        """
        recent, uses = Recent(), Counter(c.key for c in events)
        first_inputs = {c.owner: c.name for c in reversed(events) if c.name.startswith("input/")}
        sizes = {key: gradient.nbytes for key, gradient in gradients.items()}
        for part in portions(reversed(events), sizes, PART_BYTES):
            # By default all gradients that were asked for would be computed.
            jt.sync([gradients[c.key] for c in part], device_sync=False, weak_sync=False)
            for c in part:
                if first_inputs.get(c.owner) == c.name:
                    own = [name for name in weights if name.rpartition(".")[0] == c.owner]
                    self.emit_weights({name: weights.pop(name) for name in own}, emit)
                name = gradient_name(c.name)
                repeats = recent.find(replace(c, name=name))
                emit(Entry(name, c.owner, c.source, gradients[c.key].numpy(), c.caller, c.inputs, repeats))
                uses[c.key] -= 1
                if not uses[c.key]:
                    del gradients[c.key]

    def emit_weights(self, gradients: Mapping[str, Array], emit: EmitEntry) -> None:
        """Emit gradients of parameters."""
        for name, gradient in gradients.items():
            emit(Entry(f"grad/{name}", name.rpartition(".")[0] or ROOT, "", gradient))

    def choosing(self, choices: Choices, dropout: tuple[int, int] | None = None) -> AbstractContextManager[None]:
        """Note the choices of modules or impose them."""
        return choosing(self.named, choices, dropout)

    def run(self, batch: Batch, to_inputs: bool = False) -> tuple[dict[str, Var], Var]:
        """Run detector and criterion."""
        images = [jt.array(image, dtype=self.args.dtype) for image in batch.images]
        if not to_inputs:
            images = [image.stop_grad() for image in images]
        dtypes = {"labels": "int64", "boxes": self.args.dtype, "masks": "bool"}
        targets = [{name: jt.array(v, dtype=dtypes[name]) for name, v in one.items()} for one in batch.targets()]
        losses = self.criterion(self.model(images), targets)
        return losses, total_loss(losses, self.criterion.weight_dict)


@contextmanager
def choosing(named: Named, choices: Choices, dropout: tuple[int, int] | None = None) -> Iterator[None]:
    """Impose choices; with a seed and a step also draw the masks of dropouts."""
    names = {id(m): name for name, m in named if isinstance(m, CHOOSING)}

    def chosen(plain: Any, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(module) not in names:
            return plain(module, *args, **kwargs)
        label = choices.label(names[id(module)])
        if isinstance(module, Dropout):
            if dropout is None or module.p == 0:
                return plain(module, *args, **kwargs)
            mask = chance.keep_mask(*dropout, label, tuple(args[0].shape), module.p)
            return dropped(plain, module, args, kwargs, mask)
        if choices.given is None:
            return plain(module, *args, **kwargs)
        return imposed(choices, label, module, *args)

    with calling(chosen):
        yield


def dropped(plain: Any, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], mask: Array) -> Any:
    """Return the output of a dropout whose mask is given."""
    module.keep = lambda x: jt.array(mask)
    try:
        return plain(module, *args, **kwargs)
    finally:
        del module.keep


@contextmanager
def drawing(named: Named, masks: chance.Drawing) -> Iterator[None]:
    """Draw the masks of dropouts in pass after pass."""
    names = {id(m): name for name, m in named if isinstance(m, Dropout)}

    def drawn(plain: Any, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(module) not in names or not module.is_training() or module.p == 0:
            return plain(module, *args, **kwargs)
        mask = masks.mask(names[id(module)], tuple(args[0].shape), module.p)
        return dropped(plain, module, args, kwargs, mask)

    with calling(drawn):
        yield


def imposed(choices: Choices, label: str, module: nn.Module, x: Any, y: Any = None) -> Any:
    """Return the output of a module whose choice is given."""
    if isinstance(module, HungarianMatcher):
        return [tuple(jt.array(part, dtype="int64") for part in pair) for pair in choices.pairs(label)]
    given = choices.choice(label)
    if isinstance(module, (nn.ReLU, Clamp)):
        return jt.ternary(jt.array(given), x, jt.zeros_like(x))
    if isinstance(module, (Absolute, Minimum, Maximum)):
        if isinstance(module, Absolute):
            y = -x
        first = given[0] if not isinstance(module, Minimum) else ~(given[0] | given[1])
        half = constant(0.5, x)
        return jt.ternary(jt.array(given[1]), (x + y) * half, jt.ternary(jt.array(first), x, y))
    batch, channels, height, width = given.shape
    index = jt.array(given.reshape(batch, channels, -1))
    return jt.gather(x.flatten(2), 2, index).reshape(batch, channels, height, width)
