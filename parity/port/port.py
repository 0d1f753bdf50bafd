"""A model and its port, described once: to be compared here, or to be recorded in two environments."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detr_common.errors import InputError
from parity.policy import Calibrated32, Exact64
from parity.port.feed import ModelFeed
from parity.port.job import RUNGS, PortJob, Side, pair
from parity.port.recipe import Optimizer

if TYPE_CHECKING:
    from parity.port.verdict import PortVerdict


class Port:
    """A model of PyTorch, its port to Jittor, and what both are run on.

    Args:
        reference: a function that returns the module of PyTorch, or its name (``FILE.py:NAME``, ``module:NAME``): it
            runs in a process of its own. Or the module itself, of which copies run in this process; then both are.
        port: likewise for Jittor.
        inputs: an array; a tuple of positional arguments; or a dict of keyword arguments (``parity.port.feed``).
            Arrays of floats are given to the models in the dtype of each run.
        targets: what the loss is given beside the outputs.
        loss: a function of outputs and targets that returns one number or a dict of numbers, their total being the
            sum; or a class of losses; or a pair, for PyTorch and for Jittor. Without one, gradients are of the outputs'
            sum with drawn weights.
        optimizer: an ``Optimizer``, or a pair of functions that are given the module and return an optimizer, or an
            optimizer and a schedule.
        options: keyword arguments of the builders, or a pair.
        renames: paths of the reference by paths of the port, where they differ (``parity.port.names.Renames``).
        ignore: paths of modules, by the reference's names, that are looked at on neither side, and told of in the
            verdict; ``*`` stands for one part, and ``**`` at the end for all that lies below. Modules of which only
            parts are called, and which so never run, need it.
        forced: steps with the same drawn gradients in both.
        free: steps in which each trains on its own.
        more: further inputs and targets for the steps, taken in turn.
        exact: policy of the float64 comparison of layers.
        calibrated: policy of the float32 comparison of layers.
        seed: with which the reference is built, and of dropout masks and drawn gradients.
        device: "cpu" or "cuda".

    Raises:
        InputError: something cannot be used as it was given.
    """

    def __init__(
        self,
        reference: Any,
        port: Any,
        inputs: Any,
        targets: Any = None,
        *,
        loss: Any = None,
        optimizer: Any = None,
        options: Any = None,
        renames: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
        forced: int = 4,
        free: int = 10,
        more: Sequence[tuple[Any, Any]] = (),
        exact: Exact64 | None = None,
        calibrated: Calibrated32 | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        losses, optimizers = pair(loss, "loss"), pair(optimizer, "optimizer")
        kwargs = pair(options or {}, "options")
        sides = [
            Side.of(builder, losses[i], optimizers[i], kwargs[i], which)
            for i, (builder, which) in enumerate(((reference, "reference"), (port, "port")))
        ]
        if sides[0].live != sides[1].live:
            raise InputError("give two modules or two functions that build them; one of each cannot be compared")
        job = PortJob(sides[0], sides[1], ModelFeed(inputs, targets), renames=dict(renames or {}), ignore=tuple(ignore))
        job = replace(job, seed=seed, device=device, exact=exact or job.exact, calibrated=calibrated or job.calibrated)
        if isinstance(optimizers[0], Optimizer):
            recipe = optimizers[0]
            job = replace(job, clip=recipe.clip, drop_every=recipe.drop_every, rate_=float(recipe.options["lr"]))
        self.job = job
        self.forced = forced
        self.free = free
        self.feeds = (job.feed, *(ModelFeed(*one) for one in more))
        for feed in self.feeds:
            feed.arrays()
        self._lacking = {} if loss is not None else {"losses": "no loss was given"}
        if optimizer is None or loss is None:
            self._lacking["steps"] = f"no {'loss' if loss is None else 'optimizer'} was given"

    def with_job(self, job: PortJob) -> Port:
        """Return the same with another job."""
        other = copy.copy(self)
        other.job = job
        return other

    def rungs(self, asked: Sequence[str] | None = None) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return the rungs that run, and why the others do not.

        Args:
            asked: those that are wanted; None for all for which there is a loss and an optimizer.

        Raises:
            InputError: no such rung, or one that lacks a loss or an optimizer.
        """
        if asked is None:
            return tuple(rung for rung in RUNGS if rung not in self._lacking), dict(self._lacking)
        for rung in asked:
            if rung not in RUNGS:
                raise InputError(f"rungs: no such rung: {rung!r}; there are {', '.join(RUNGS)}")
            if rung in self._lacking:
                raise InputError(f"rungs: {rung} cannot run: {self._lacking[rung]}")
        wanted = tuple(rung for rung in RUNGS if rung in asked or rung == "weights")
        left = [rung for rung in RUNGS if rung not in wanted]
        return wanted, {rung: self._lacking.get(rung, "not among the rungs asked for") for rung in left}

    def compare(self, rungs: Sequence[str] | None = None, **options: Any) -> PortVerdict:
        """Compare; ``compare_models`` tells of ``python``, ``session``, ``dtype``, ``keep``, ``show``, ``progress``."""
        from parity.port.compare import compare_port

        return compare_port(self, rungs, **options)


def as_path(value: Path | str | None) -> Path | None:
    """Return a path that may be given as text."""
    return None if value is None else Path(value)
