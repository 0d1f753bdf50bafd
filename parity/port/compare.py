"""``compare_models``: a port's way up the ladder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detr_common.errors import InputError
from parity.client import Starting, Worker
from parity.frameworks.weights import read_buffers, read_weights
from parity.ladder import LadderJob, climb
from parity.layers import LayersSession
from parity.port.constants import with_constants
from parity.port.job import REFERENCE_RUN, PortJob, Progress
from parity.port.live import LocalWorker
from parity.port.names import WeightsVerdict
from parity.port.port import Port, as_path
from parity.port.suggest import suggest
from parity.port.verdict import PortVerdict
from parity.rungs import PORT, RUNS_OF, TRUTH, Run
from parity.training import silent
from parity.wire import Array

WEIGHTS = "weights.safetensors"


def compare_models(
    reference: Any,
    port: Any,
    inputs: Any,
    targets: Any = None,
    *,
    rungs: Sequence[str] | None = None,
    python: Mapping[str, str] | None = None,
    session: PortSession | None = None,
    dtype: str | None = None,
    keep: Path | str | None = None,
    show: str = "",
    progress: Progress = silent,
    **options: Any,
) -> PortVerdict:
    """Compare a model of PyTorch with its port to Jittor: weights, layers, losses, gradients and steps of training.

    Args:
        reference: see ``parity.port.port.Port``, as for the other arguments that are not told of here: ``loss``,
            ``optimizer``, ``options``, ``renames``, ``ignore``, ``forced``, ``free``, ``more``, ``exact``,
            ``calibrated``, ``seed`` and ``device``.
        port: likewise.
        inputs: likewise.
        targets: likewise.
        rungs: those that are wanted; all for which there is a loss and an optimizer by default.
        python: interpreters by framework ("torch", "jittor"), where they live in environments of their own.
        session: workers to use again (``PortSession``); new ones by default.
        dtype: "both" (the default), "float64" or "float32"; see ``PortSession``, of which a session has its own.
        keep: new folder for the traces of the layers rung.
        show: a module, by the reference's name, that must be there; the story lists its tensors.
        progress: called with a run's label and the number of its tensors received.
        **options: the other arguments of ``Port``.

    Returns:
        The verdict: truthy for a pass, and its story is printed by ``print``.

    Raises:
        InputError: something cannot be used as it was given; nothing has been compared.
        WorkerError: a worker died.
    """
    described = Port(reference, port, inputs, targets, **options)
    return compare_port(described, rungs, python, session, dtype, keep, show, progress)


def compare_port(
    port: Port,
    rungs: Sequence[str] | None = None,
    python: Mapping[str, str] | None = None,
    session: PortSession | None = None,
    dtype: str | None = None,
    keep: Path | str | None = None,
    show: str = "",
    progress: Progress = silent,
) -> PortVerdict:
    """Compare what a ``Port`` describes; see ``compare_models``."""
    job = replace(port.job, keep=as_path(keep), show=show)
    wanted, unasked = port.rungs(rungs)
    if job.reference.live and (session or python):
        raise InputError("modules are compared in this process: leave out session and python, or name functions")
    if session and dtype not in (None, session.dtype):
        raise InputError(f"dtype={dtype!r}: the session was made for {session.dtype!r}; leave out one of them")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        used = session or PortSession(python, job.reference.live, "both" if dtype is None else dtype)
        if session is None:
            stack.enter_context(used)
        used.check()
        if used.dtype == "float64" and "steps" in wanted:
            wanted = tuple(rung for rung in wanted if rung != "steps")
            unasked = {**unasked, "steps": "left out, since float32 was"}
        verdicts: list[Any] = [match_weights(job, used.workers, scratch)]
        job = replace(job, weights=scratch / WEIGHTS)
        if verdicts[0] and len(wanted) > 1:
            first, *more = port.feeds
            ladder = LadderJob(job, first, port.forced, port.free, job.seed, rungs=wanted[1:], more=tuple(more))
            verdicts += climb(used, ladder, progress).verdicts
    return PortVerdict(wanted, verdicts, unasked, show)


class PortSession(LayersSession):
    """Workers that serve one comparison after another; they start once, which takes longer than small models do.

    Use as a context manager. A file of the user's that has changed is loaded anew, what it imports is not. Where a
    comparison is broken off by an exception while workers are answering, the session refuses to be used again.

    Args:
        python: interpreters by framework, where they live in environments of their own.
        live: copies of modules in this process instead.
        dtype: "both"; "float64" to leave float32 and the steps out, which is more than twice as fast; or "float32" to
            leave out the port's float64 run. PyTorch's float64 run stays, since it is what float32 is judged against.

    Raises:
        InputError: no such dtype.
    """

    def __init__(self, python: Mapping[str, str] | None = None, live: bool = False, dtype: str = "both") -> None:
        if dtype not in RUNS_OF:
            raise InputError(f"dtype: {dtype!r} is none of {', '.join(RUNS_OF)}")
        self.dtype = dtype
        super().__init__((lambda run: LocalWorker(run[0])) if live else Starting("port", python), RUNS_OF[dtype])


def match_weights(job: PortJob, workers: Mapping[Run, Worker], folder: Path) -> WeightsVerdict:
    """Write the reference's weights, see whether the port has one for each, and read them back from the port.

    Args:
        job: what is compared; ``weights`` are not looked at.
        workers: those of the float32 runs are used.
        folder: for the file ``WEIGHTS``.

    Raises:
        InputError: a builder cannot be used.
        WorkerError: a worker died, or a model cannot be built.
    """
    # float32, as checkpoints are, where there is such a run.
    theirs_run = REFERENCE_RUN if REFERENCE_RUN in workers else TRUTH
    run = (PORT, theirs_run[1])
    theirs = exported(replace(job, weights=None), theirs_run, workers[theirs_run], folder / WEIGHTS)
    own = exported(replace(job, weights=None), run, workers[run], folder / "own.safetensors")
    buffers = read_buffers(folder / WEIGHTS)
    verdict = matched(theirs, own, job, unused_of(job, workers[theirs_run], workers[run]))
    unsaved = [name for name in buffers if name not in theirs]
    verdict = replace(verdict, settings={**verdict.settings, "unsaved": unsaved})
    if verdict.missing or verdict.unexpected or verdict.shapes or not verdict.matched:
        return verdict

    def redrawn() -> dict[str, Array]:
        other = replace(job, weights=None, seed=job.seed + 1)
        return exported(other, theirs_run, workers[theirs_run], folder / "redrawn.safetensors")

    verdict = with_constants(verdict, job, theirs, own, [name for name in buffers if name in theirs], redrawn)
    if not verdict:
        return verdict
    back = exported(replace(job, weights=folder / WEIGHTS), run, workers[run], folder / "back.safetensors")
    return replace(verdict, differing=[name for name in theirs if not same(theirs[name], back[name])])


def exported(job: PortJob, run: Run, worker: Worker, path: Path) -> dict[str, Array]:
    """Build the model of a run and return its weights, by the reference's names."""
    job.build(run, worker)
    worker.wait_built()
    worker.ask("export", {}, path=str(path))
    worker.answer()
    return read_weights(path)


def unused_of(job: PortJob, *workers: Worker) -> list[str]:
    """Return the rules that fitted nothing in the port, whose worker comes last, and the paths that fitted nowhere."""
    port = workers[-1].unused
    rules = [rule for rule in job.renames if rule in port]
    return rules + [path for path in job.ignore if all(path in worker.unused for worker in workers)]


def matched(
    theirs: Mapping[str, Array], own: Mapping[str, Array], job: PortJob, unused: Sequence[str]
) -> WeightsVerdict:
    """Tell which weights of the reference and of the port belong together.

    Args:
        theirs: weights of the reference.
        own: those of the port, by the reference's names.
        job: with the rules of renaming.
        unused: rules and paths that fitted nothing (``unused_of``).
    """
    both = [name for name in theirs if name in own]
    shapes, own_shapes = ({name: array.shape for name, array in side.items()} for side in (theirs, own))
    suggested, explained = suggest(shapes, own_shapes, job.renames)
    return WeightsVerdict(
        matched=sum(theirs[name].shape == own[name].shape for name in both),
        missing=[name for name in theirs if name not in own],
        unexpected=[name for name in own if name not in theirs],
        shapes=[(name, theirs[name].shape, own[name].shape) for name in both if theirs[name].shape != own[name].shape],
        unused=list(unused),
        settings={"renames": dict(job.renames), "ignored": list(job.ignore)},
        suggested=suggested,
        explained=explained,
    )


def same(first: Array, second: Array) -> bool:
    """Whether two arrays are bitwise the same."""
    return (
        first.shape == second.shape and first.dtype == second.dtype and first.tobytes() == np.asarray(second).tobytes()
    )
