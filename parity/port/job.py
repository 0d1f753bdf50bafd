"""What is compared: a model and its port, by functions that build them or as they are."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detr_common.errors import InputError
from parity import rungs
from parity.client import Worker
from parity.layers import environments
from parity.policy import Calibrated32, Exact64
from parity.port.feed import ModelFeed
from parity.port.recipe import Optimizer, Reference, named
from parity.rungs import PORT, REFERENCE, TWIN_SEEDS, Run

Progress = Callable[[str, int], None]
REFERENCE_RUN: Run = (REFERENCE, "float32")
RUNGS = ("weights", "layers", "losses", "gradients", "steps")


@dataclass(frozen=True)
class Side:
    """One of the two models.

    Attributes:
        builder: returns the module, or the module itself.
        loss: of outputs and targets, or None.
        optimizer: an ``Optimizer``, a function of the module that returns an optimizer, maybe with a schedule, or None.
        options: keyword arguments of the builder.
    """

    builder: Any
    loss: Any = None
    optimizer: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Whether the module itself was given, and not a function that builds it."""
        return not isinstance(self.builder, str)

    @staticmethod
    def of(builder: Any, loss: Any, optimizer: Any, options: Mapping[str, Any], which: str) -> Side:
        """Return a side whose functions a worker can find, or one that is live.

        Raises:
            InputError: a function cannot be found by name.
        """
        if not isinstance(builder, str) and hasattr(builder, "state_dict") and not isinstance(builder, type):
            return Side(builder, loss, _recipe(optimizer), options)
        return Side(
            named(builder, which),
            None if loss is None else named(loss, f"loss of {which}"),
            optimizer.as_dict() if isinstance(optimizer, Optimizer) else _named_or_none(optimizer, which),
            options,
        )


@dataclass(frozen=True)
class PortJob:
    """A comparison of two models; what the rungs ask of it is ``parity.layers.ModelJob``.

    Attributes:
        reference: the model of PyTorch.
        port: its port to Jittor.
        feed: what both are run on.
        weights: file that the reference's weights were written to; None before.
        renames: paths of the reference by paths of the port (``parity.port.names.Renames``).
        ignore: paths of modules, by the reference's names, that are not looked at on either side (``Port``).
        clip: norm to which gradients are clipped in the steps.
        drop_every: steps of the schedule after which the learning rate falls; 0 for none.
        rate_: learning rate, where it is known.
        seed: with which the reference is built, and of drawn numbers.
        device: "cpu" or "cuda".
        exact: policy of the float64 comparison of layers.
        calibrated: policy of the float32 comparison of layers.
        keep: folder under which the traces are kept; None keeps none.
        show: a module that the report will list; empty names none.
    """

    reference: Side
    port: Side
    feed: ModelFeed
    weights: Path | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    clip: float = 0.0
    drop_every: int = 0
    rate_: float = 0.0
    seed: int = 0
    device: str = "cpu"
    exact: Exact64 = field(default_factory=Exact64)
    calibrated: Calibrated32 = field(default_factory=lambda: Calibrated32(few=rungs.FEW, few_max=8))
    keep: Path | None = None
    show: str = ""

    def args(self, run: Run) -> argparse.Namespace:
        """Return what a run's adapter builds its model from."""
        framework, arithmetic = run
        side = self.port if framework == PORT else self.reference
        return argparse.Namespace(
            builder=side.builder,
            options=dict(side.options),
            loss=side.loss,
            optimizer=side.optimizer,
            renames=dict(self.renames) if framework == PORT else {},
            ignore=list(self.ignore),
            clip_max_norm=self.clip,
            # Of a schedule of the user's it is not known when it drops, so many epochs are looked at.
            lr_drop=self.drop_every or 100,
            seed=self.seed,
            device=rungs.device_of(arithmetic, self.device),
            dtype=arithmetic.split("-")[0],
            stamps=_stamps(side),
        )

    def build(self, run: Run, worker: Worker) -> None:
        """Ask a worker for the model of one run."""
        worker.build(self.args(run), self.weights, twin=TWIN_SEEDS.get(run[1], 0))

    def start(self, worker: Worker) -> None:
        """Start a forward pass whose tensors are wanted."""
        worker.ask("forward", self.forward_arrays(), capture=True)

    def forward_arrays(self) -> dict[str, Any]:
        """Return what the forward pass runs on, by name."""
        return self.feed.arrays()

    def what_is_trained(self) -> str:
        """Return in words what the steps have: the recipe, where there is one for both."""
        recipe = self.reference.optimizer
        return str(recipe if isinstance(recipe, Mapping) else None)

    def rate(self, parameter: str) -> float:
        """Return the learning rate; 0 where an optimizer of the user's has it."""
        return self.rate_

    def settings(self, workers: Mapping[Run, Worker]) -> dict[str, Any]:
        """Return what was run, for the reader and for the manifest."""
        return {
            "reference": describe(self.reference),
            "port": describe(self.port),
            "renames": dict(self.renames),
            "ignored": list(self.ignore),
            "inputs": {name: f"{a.dtype}{list(a.shape)} {digest(a)}" for name, a in self.feed.arrays().items()},
            "seed": self.seed,
            "device": self.device,
            "in_training": {run[0]: worker.in_training for run, worker in workers.items()},
            "environment": environments(workers),
        }


def _stamps(side: Side) -> list[int]:
    """Return when the files of a side were written, so that a worker does not take an older state for the same."""
    files = [Path(one.rpartition(":")[0]) for one in (side.builder, side.loss, side.optimizer) if isinstance(one, str)]
    return [file.stat().st_mtime_ns for file in files if file.suffix == ".py" and file.is_file()]


def describe(side: Side) -> dict[str, Any]:
    """Return a side as plain data."""

    def told(value: Any) -> Any:
        return (
            value
            if isinstance(value, (str, dict)) or value is None
            else getattr(value, "__qualname__", type(value).__name__)
        )

    return {key: told(getattr(side, key)) for key in ("builder", "loss", "optimizer")} | {"options": dict(side.options)}


def digest(array: Any) -> str:
    """Return the first half of an array's sha256."""
    return hashlib.sha256(array.tobytes()).hexdigest()[:32]


def pair(value: Any, what: str) -> tuple[Any, Any]:
    """Return what the reference and the port are given: two values, or the same for both.

    Raises:
        InputError: a sequence of another length than two.
    """
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise InputError(f"{what}: give one for both, or a pair (for PyTorch, for Jittor); got {len(value)}")
        return value[0], value[1]
    return value, value


def _recipe(optimizer: Any) -> Any:
    return optimizer.as_dict() if isinstance(optimizer, Optimizer) else optimizer


def _named_or_none(optimizer: Reference | None, which: str) -> str | None:
    return None if optimizer is None else named(optimizer, f"optimizer of {which}")
