"""What can be recorded: a port that a file describes, or a detector."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from detr_common.errors import InputError
from parity.batch import mirrored
from parity.client import Starting
from parity.frameworks.base import Batch
from parity.frameworks.weights import read_weights
from parity.layers import LayersJob
from parity.port.compare import exported, matched, unused_of
from parity.port.port import Port
from parity.recording.layout import WEIGHTS, Recording, read_recording
from parity.recording.record import RECORDED, RecordJob, check_empty, record
from parity.rungs import PORT, REFERENCE
from parity.training import Progress, silent


def record_port(
    port: Port,
    framework: str,
    out: Path,
    follow: Path | None = None,
    rungs: Sequence[str] | None = None,
    operations: bool = False,
    progress: Progress = silent,
) -> Recording:
    """Record one framework's side of a port; only that framework has to be installed.

    Args:
        port: what is recorded.
        framework: "torch", which comes first, or "jittor".
        out: a new folder.
        follow: the recording of PyTorch, whose weights and choices Jittor takes.
        rungs: those that are wanted; see ``Port.rungs``.
        operations: note every operation's result in short as well, for ``parity bisect``.
        progress: called with a run's label and the number of its tensors received.

    Raises:
        InputError: something cannot be used, the folder is not empty, weights do not match, or Jittor has nothing to
            follow.
        WorkerError: a worker died.
    """
    job = port.job
    if job.reference.live:
        raise InputError("modules cannot be recorded, since a worker cannot have them; name functions that build them")
    check_follow(framework, follow)
    check_empty(out)
    wanted = tuple(rung for rung in port.rungs(rungs)[0] if rung in RECORDED)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        weights = scratch / WEIGHTS if follow is None else follow / WEIGHTS
        run = (framework, "float32")
        start = stack.enter_context(Starting("port"))
        with start(run) as worker:
            own = exported(replace(job, weights=None), run, worker, scratch / (WEIGHTS if follow is None else "own"))
            unused = unused_of(job, worker)
        if follow is not None:
            verdict = matched(read_weights(weights), own, job, [one for one in unused if one in job.renames])
            if not verdict:
                raise InputError("the weights do not match:\n" + "\n".join(f"  {one}" for one in verdict.problems()))
        recorded = RecordJob(
            replace(job, weights=weights),
            port.feeds,
            wanted,
            port.forced,
            port.free,
            seed=job.seed,
            rates=[("", job.rate_)],
            rules=job.renames,
            operations=operations,
        )
        return record(recorded, framework, out, start, progress, follow)


def record_detector(
    job: LayersJob,
    batch: Batch,
    framework: str,
    out: Path,
    follow: Path | None,
    steps: tuple[int, int],
    operations: bool,
    progress: Progress,
    rungs: Sequence[str] | None = None,
) -> Recording:
    """Record one framework's detector.

    Args:
        job: options, weights, photographs and fault.
        batch: photographs with their targets.
        framework: "torch" or "jittor".
        out: a new folder.
        follow: the recording of PyTorch.
        steps: forced and free ones.
        operations: note every operation's result in short as well.
        progress: called with a run's label and the number of its tensors received.
        rungs: those of ``RECORDED`` that are wanted; all by default.

    Raises:
        InputError: weights or options that cannot be used, a folder that is not empty, no such rung, or Jittor has
            nothing to follow.
        WorkerError: a worker died.
    """
    check_follow(framework, follow)
    check_empty(out)
    unknown = [rung for rung in rungs or () if rung not in RECORDED]
    if unknown:
        raise InputError(f"rungs: no such rung to record: {unknown[0]!r}; there are {', '.join(RECORDED)}")
    args: argparse.Namespace = job.args
    recorded = RecordJob(
        job,
        (batch, mirrored(batch)),
        tuple(rung for rung in RECORDED if rung in (rungs or RECORDED)),
        forced=steps[0],
        free=steps[1],
        seed=args.seed,
        rates=[("", args.lr), ("backbone", args.lr_backbone)],
        operations=operations,
    )
    with Starting() as start:
        return record(recorded, framework, out, start, progress, follow)


def check_follow(framework: str, follow: Path | None) -> None:
    """Refuse to record Jittor without the recording of PyTorch, or with what is none, or PyTorch with one.

    Raises:
        InputError: says what to do.
    """
    if framework == PORT and follow is None:
        raise InputError("--from: Jittor follows the weights and choices of PyTorch; record PyTorch first and name it")
    if framework == REFERENCE and follow is not None:
        raise InputError("--from: PyTorch follows nobody; leave it out")
    if follow is not None:
        read_recording(follow)
