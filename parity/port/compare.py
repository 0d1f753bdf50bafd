"""``compare_models``: a port's way up the ladder."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from detr_common.errors import InputError
from parity.client import Worker
from parity.frameworks.port import read_weights
from parity.ladder import LadderJob, climb
from parity.layers import LayersSession
from parity.policy import Calibrated32, Exact64
from parity.port.feed import ModelFeed
from parity.port.job import REFERENCE_RUN, RUNGS, PortJob, Progress, Side, pair
from parity.port.live import LocalWorker
from parity.port.names import Renames, WeightsVerdict, matches
from parity.port.recipe import Optimizer
from parity.port.verdict import PortVerdict
from parity.rungs import PORT, REFERENCE, Run
from parity.training import silent

WEIGHTS = "weights.safetensors"


def compare_models(
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
    rungs: Sequence[str] | None = None,
    forced: int = 4,
    free: int = 10,
    more: Sequence[tuple[Any, Any]] = (),
    exact: Exact64 | None = None,
    calibrated: Calibrated32 | None = None,
    seed: int = 0,
    device: str = "cpu",
    python: Mapping[str, str] | None = None,
    session: PortSession | None = None,
    keep: Path | None = None,
    show: str = "",
    progress: Progress = silent,
) -> PortVerdict:
    """Compare a model of PyTorch with its port to Jittor: weights, layers, losses, gradients and steps of training.

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
        ignore: paths of modules, by the reference's names and with ``*`` for one part, that are looked at on neither
            side. They are told of in the verdict.
        rungs: those that are wanted; all for which there is a loss and an optimizer by default.
        forced: steps with the same drawn gradients in both.
        free: steps in which each trains on its own.
        more: further inputs and targets for the steps, taken in turn.
        exact: policy of the float64 comparison of layers.
        calibrated: policy of the float32 comparison of layers.
        seed: with which the reference is built, and of dropout masks and drawn gradients.
        device: "cpu" or "cuda".
        python: interpreters by framework ("torch", "jittor"), where they live in environments of their own.
        session: workers to use again (``PortSession``); new ones by default.
        keep: new folder for the traces of the layers rung.
        show: a module whose tensors the story lists.
        progress: called with a run's label and the number of its tensors received.

    Returns:
        The verdict: truthy for a pass, and its story is printed by ``print``.

    Raises:
        InputError: something cannot be used as it was given; nothing has been compared.
        WorkerError: a worker died.
    """
    job = _job(reference, port, ModelFeed(inputs, targets), loss, optimizer, options, seed, device)
    job = replace(job, renames=renames or {}, ignore=tuple(ignore), keep=keep, show=show)
    job = replace(job, exact=exact or job.exact, calibrated=calibrated or job.calibrated)
    wanted, unasked = _wanted(rungs, loss, optimizer)
    for feed in (job.feed, *(others := tuple(ModelFeed(*one) for one in more))):
        feed.arrays()
    if job.reference.live and (session or python):
        raise InputError("modules are compared in this process: leave out session and python, or name functions")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        used = session or PortSession(python, live=job.reference.live)
        if session is None:
            stack.enter_context(used)
        verdicts: list[Any] = [match_weights(job, used.workers, scratch)]
        job = replace(job, weights=scratch / WEIGHTS)
        if verdicts[0] and len(wanted) > 1:
            ladder = LadderJob(job, job.feed, forced, free, seed, rungs=wanted[1:], more=others)
            verdicts += climb(used, ladder, progress).verdicts
    return PortVerdict(wanted, verdicts, unasked)


class PortSession(LayersSession):
    """Workers that serve one comparison after another; they start once, which takes longer than small models do.

    Use as a context manager. A file of the user's that has changed is loaded anew, what it imports is not.

    Args:
        python: interpreters by framework, where they live in environments of their own.
        live: copies of modules in this process instead.
    """

    def __init__(self, python: Mapping[str, str] | None = None, live: bool = False) -> None:
        pythons = python or {}

        def start(run: Run) -> Worker:
            if live:
                return LocalWorker(run[0])
            return Worker(run[0], python=pythons.get(run[0], sys.executable), adapter="port")

        super().__init__(start)


def match_weights(job: PortJob, workers: Mapping[Run, Worker], folder: Path) -> WeightsVerdict:
    """Write the reference's weights, and see whether the port has one for each.

    Args:
        job: what is compared; ``weights`` are not looked at.
        workers: those of the float32 runs are used.
        folder: for the file ``WEIGHTS``.

    Raises:
        InputError: a builder cannot be used, or a path of ``ignore`` is of no module.
        WorkerError: a worker died, or the reference cannot be built.
    """
    path, ports = folder / WEIGHTS, folder / "port.safetensors"
    modules: list[str] = []
    for framework, file in ((REFERENCE, path), (PORT, ports)):
        run = (framework, REFERENCE_RUN[1])
        replace(job, weights=None).build(run, workers[run])
        workers[run].wait_built()
        modules = workers[run].modules  # of the port, which comes last
        workers[run].ask("export", {}, path=str(file))
        workers[run].answer()
    theirs, own = read_weights(path), read_weights(ports)
    both = [name for name in theirs if name in own]
    rename = Renames(job.renames)
    return WeightsVerdict(
        matched=sum(theirs[name].shape == own[name].shape for name in both),
        missing=[name for name in theirs if name not in own],
        unexpected=[name for name in own if name not in theirs],
        shapes=[(name, theirs[name].shape, own[name].shape) for name in both if theirs[name].shape != own[name].shape],
        unused=_unused(job, rename, [*own, *modules]),
        settings={"renames": dict(job.renames), "ignored": list(job.ignore)},
    )


def _unused(job: PortJob, rename: Renames, names: Sequence[str]) -> list[str]:
    """Return the rules whose right sides no name of the port has come to."""
    return [port for port, reference in job.renames.items() if not any(matches(reference, name) for name in names)]


def _job(
    reference: Any, port: Any, feed: ModelFeed, loss: Any, optimizer: Any, options: Any, seed: int, device: str
) -> PortJob:
    losses, optimizers = pair(loss, "loss"), pair(optimizer, "optimizer")
    kwargs = pair(options or {}, "options")
    sides = [
        Side.of(builder, losses[i], optimizers[i], kwargs[i], which)
        for i, (builder, which) in enumerate(((reference, "reference"), (port, "port")))
    ]
    if sides[0].live != sides[1].live:
        raise InputError("give two modules or two functions that build them; one of each cannot be compared")
    job = PortJob(sides[0], sides[1], feed, seed=seed, device=device)
    if isinstance(optimizers[0], Optimizer):
        recipe = optimizers[0]
        job = replace(job, clip=recipe.clip, drop_every=recipe.drop_every, rate_=float(recipe.options["lr"]))
    return job


def _wanted(rungs: Sequence[str] | None, loss: Any, optimizer: Any) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the rungs that run, and why the others do not.

    Raises:
        InputError: no such rung, or one that lacks a loss or an optimizer.
    """
    lacking = {"losses": "no loss was given"} if loss is None else {}
    if optimizer is None or loss is None:
        lacking["steps"] = f"no {'optimizer' if loss is not None else 'loss'} was given"
    if rungs is None:
        return tuple(rung for rung in RUNGS if rung not in lacking), lacking
    for rung in rungs:
        if rung not in RUNGS:
            raise InputError(f"rungs: no such rung: {rung!r}; there are {', '.join(RUNGS)}")
        if rung in lacking:
            raise InputError(f"rungs: {rung} cannot run: {lacking[rung]}")
    wanted = tuple(rung for rung in RUNGS if rung in rungs or rung == "weights")
    return wanted, {rung: lacking.get(rung, "not among the rungs asked for") for rung in RUNGS if rung not in wanted}
