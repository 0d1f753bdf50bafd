"""Losses, gradients and steps of training in PyTorch; ``parity.frameworks.jittor_training`` is the mirror image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import detr_pt.optimizer as optim
from detr_pt.criterion import total_loss
from detr_pt.layers import Absolute, Clamp, Maximum, Minimum
from detr_pt.matcher import HungarianMatcher
from parity import chance
from parity.capture import ROOT, Captured, Recent, Recorder
from parity.choices import WANTED, Choices
from parity.frameworks.base import Array, Batch, EmitEntry, code_of, gradient_name, of_losses
from parity.frameworks.training import Training
from parity.trace import Entry

Named = list[tuple[str, nn.Module]]

# What never runs itself, and only holds others.
HOLDERS = (nn.ModuleList, nn.ModuleDict)

# Modules that choose: where rounding alone moves a choice, a gradient jumps.
CHOOSING = (nn.ReLU, nn.MaxPool2d, HungarianMatcher, nn.Dropout, Absolute, Minimum, Maximum, Clamp)


class TorchTensors:
    """PyTorch's tensors, as the recorder sees them: read at once, so nothing is written to before."""

    def is_one(self, value: object) -> bool:
        """Whether a value is a tensor."""
        return isinstance(value, Tensor)

    def key(self, tensor: Tensor) -> tuple[int, int]:
        """Return its identity and the number of writes in place."""
        return id(tensor), tensor._version

    def hold(self, tensor: Tensor) -> Tensor:
        """Return the tensor itself."""
        return tensor

    def alias(self, tensor: Tensor) -> Tensor:
        """Return a view of the tensor."""
        return tensor.view_as(tensor) if tensor.requires_grad else tensor


def to_numpy(tensor: Tensor) -> Array:
    """Return the values, shared with the tensor where it is on the CPU."""
    array: Array = tensor.detach().cpu().numpy()
    return array


class TorchTraining(Training):
    """Passes of training in PyTorch; see ``parity.frameworks.base.Passes``."""

    optim = optim

    def to_numpy(self, value: Tensor) -> Array:
        """Return the values of a tensor."""
        return to_numpy(value)

    def trained(self) -> dict[str, Tensor]:
        """Return the parameters that take a gradient, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def train(self) -> None:
        """Put the model in training mode."""
        self.model.train()

    def finish(self) -> None:
        """Forget the optimizer, with all that it keeps, and the gradients."""
        super().finish()
        self.model.zero_grad(set_to_none=True)

    def choose(self, batch: Batch) -> dict[str, Array]:
        """Run the losses, and return the choices and which tensors the total loss has a gradient of."""
        choices = Choices()
        wanted: dict[str, Array] = {}

        def note(c: Captured) -> None:
            if c.tensor.requires_grad and not isinstance(c.tensor, nn.Parameter):
                wanted[WANTED + gradient_name(c.name)] = np.zeros(0, np.uint8)

        with self.choosing(choices), capturing(self.named, self.model, note, split=True):
            self.run(batch, to_inputs=True)
        return {**choices.made, **wanted}

    def losses(self, batch: Batch, emit: EmitEntry) -> None:
        """Emit predictions, what crosses the criterion's modules, and each loss."""
        recent = Recent()

        def note(c: Captured) -> None:
            if of_losses(c.name):
                emit(Entry(c.name, c.owner, c.source, to_numpy(c.tensor), c.caller, c.inputs, recent.find(c)))

        with torch.no_grad(), capturing(self.named, self.model, note):
            losses, total = self.run(batch)
        for entry in self.loss_entries(losses, total):
            emit(entry)

    def gradients(self, batch: Batch, given: Mapping[str, Array], split: bool, emit: EmitEntry) -> None:
        """Emit gradients, those of tensors as the backward pass has them and then those of parameters."""
        waiting: dict[str, Captured] = {}
        recent = Recent()

        def send(name: str, gradient: Tensor) -> None:
            c = replace(waiting.pop(name), name=name)
            emit(Entry(name, c.owner, c.source, to_numpy(gradient), c.caller, c.inputs, recent.find(c)))

        self.model.zero_grad(set_to_none=True)
        imposed = Choices.given_in(given)
        # Hooks are taken away again: they have the last tensors, which have them, and nothing would ever free those.
        with ExitStack() as hooks:

            def note(c: Captured) -> None:
                name = gradient_name(c.name)
                if WANTED + name in given:
                    waiting[name] = c
                    hooks.callback(c.tensor.register_hook(lambda gradient: send(name, gradient)).remove)

            with self.choosing(imposed), capturing(self.named, self.model, note, split):
                _, total = self.run(batch, to_inputs=True)
            total.backward()
            for name, c in list(waiting.items()):
                # No gradient reached it.
                send(name, torch.zeros_like(c.tensor))
        for name, weight in self.trained().items():
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            emit(Entry(f"grad/{name}", name.rpartition(".")[0] or ROOT, "", to_numpy(gradient)))
        self.model.zero_grad(set_to_none=True)

    def choosing(self, choices: Choices, dropout: tuple[int, int] | None = None) -> AbstractContextManager[None]:
        """Note the choices of modules or impose them."""
        return choosing(self.named, choices, dropout)

    def run(self, batch: Batch, to_inputs: bool = False) -> tuple[dict[str, Tensor], Tensor]:
        """Run detector and criterion."""
        dtype, device = getattr(torch, self.args.dtype), self.args.device
        images = [
            torch.from_numpy(image).to(device=device, dtype=dtype).requires_grad_(to_inputs) for image in batch.images
        ]
        targets = [{name: torch.from_numpy(v).to(device) for name, v in one.items()} for one in batch.targets()]
        for target in targets:
            target["boxes"] = target["boxes"].to(dtype)
        losses = self.criterion(self.model(images), targets)
        return losses, total_loss(losses, self.criterion.weight_dict)


@contextmanager
def capturing(named: Named, model: nn.Module, note: Any, split: bool = False) -> Iterator[None]:
    """Hand what crosses modules to ``note``."""
    recorder = Recorder(
        named, model.named_parameters(), lambda m: code_of(type(m).forward), TorchTensors(), note, split
    )

    def leave(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        recorder.leave(module, output)

    handles = []
    for _, module in named:
        handles.append(module.register_forward_pre_hook(recorder.enter, with_kwargs=True))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def emitting(named: Named, model: nn.Module, emit: EmitEntry | None) -> Iterator[None]:
    """Emit what crosses modules as it comes; None runs plainly."""
    if emit is None:
        yield
        return
    recent = Recent()

    def note(c: Captured) -> None:
        emit(Entry(c.name, c.owner, c.source, to_numpy(c.tensor), c.caller, c.inputs, recent.find(c)))

    with capturing(named, model, note):
        yield


@contextmanager
def choosing(named: Named, choices: Choices, dropout: tuple[int, int] | None = None) -> Iterator[None]:
    """Note choices or impose them; with a seed and a step also draw the masks of dropouts."""
    names = {id(m): name for name, m in named if isinstance(m, CHOOSING)}

    def chosen(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        label = choices.label(names[id(module)])
        if isinstance(module, nn.Dropout):
            if dropout is None or not module.training or module.p == 0:
                return output
            return dropped(args[0], chance.keep_mask(*dropout, label, tuple(args[0].shape), module.p), module.p)
        if choices.given is None:
            note_choice(choices, label, module, args, output)
            return output
        return imposed(choices, label, module, *args)

    with answering(named, names, chosen):
        yield


@contextmanager
def answering(named: Named, names: Mapping[int, str], answer: Any) -> Iterator[None]:
    """Let ``answer`` replace what the modules of these identities return."""
    handles = [module.register_forward_hook(answer) for _, module in named if id(module) in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def dropped(x: Tensor, mask: Array, p: float) -> Tensor:
    """Return the output of a dropout whose mask is given."""
    return x * torch.from_numpy(mask).to(x) * (1 / (1 - p))


@contextmanager
def drawing(named: Named, masks: chance.Drawing) -> Iterator[None]:
    """Draw the masks of dropouts in pass after pass."""
    names = {id(m): name for name, m in named if isinstance(m, nn.Dropout)}

    def drawn(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not module.training or module.p == 0:
            return output
        return dropped(args[0], masks.mask(names[id(module)], tuple(args[0].shape), module.p), module.p)

    with answering(named, names, drawn):
        yield


def note_choice(choices: Choices, label: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """Note what a module has chosen."""
    x = args[0]
    if isinstance(module, HungarianMatcher):
        choices.note_pairs(label, [(to_numpy(q), to_numpy(o)) for q, o in output])
    elif isinstance(module, nn.ReLU):
        choices.note_mask(label, to_numpy(x > 0))
    elif isinstance(module, Clamp):
        choices.note_mask(label, to_numpy(x >= 0))
    elif isinstance(module, (Absolute, Minimum, Maximum)):
        y = args[1] if len(args) > 1 else torch.zeros_like(x)
        choices.note_mask(label, to_numpy(torch.stack([x > y, x == y])))
    else:
        sizes = module.kernel_size, module.stride, module.padding
        choices.note_index(label, to_numpy(F.max_pool2d(x, *sizes, return_indices=True)[1]))


def imposed(choices: Choices, label: str, module: nn.Module, x: Any, y: Any = None) -> Any:
    """Return the output of a module whose choice is given."""
    if isinstance(module, HungarianMatcher):
        return [tuple(torch.from_numpy(part) for part in pair) for pair in choices.pairs(label)]
    given = torch.from_numpy(choices.choice(label)).to(x.device)
    if isinstance(module, (nn.ReLU, Clamp)):
        # What a ReLU's gradient does: zero where not chosen, whatever stands there. A third of the time of torch.where.
        return torch.ops.aten.threshold_backward(x, given.to(x.dtype), 0)
    if isinstance(module, (Absolute, Minimum, Maximum)):
        if isinstance(module, Absolute):
            y = -x
        first = given[0] if not isinstance(module, Minimum) else ~(given[0] | given[1])
        return torch.where(given[1], (x + y) / 2, torch.where(first, x, y))
    return x.flatten(2).gather(2, given.flatten(2)).reshape(given.shape)
