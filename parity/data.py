"""The rung of data: whole batches, as each framework's process reads, augments and pads them, are equal bit by bit."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detr_common.coco import check_root
from parity.client import Worker
from parity.process import WorkerError
from parity.rungs import PORT, REFERENCE
from parity.trace import Entry

FRAMEWORKS = (REFERENCE, PORT)


@dataclass(frozen=True)
class DataJob:
    """What to compare.

    Attributes:
        args: options of a training program; see ``detr_common.options.get_training_parser``.
        parts: of the data set, "train" and "val".
        epochs: of the training part; each is drawn anew.
        mutant: name of a fault to plant in the process that reads for the port.
    """

    args: argparse.Namespace
    parts: tuple[str, ...] = ("train", "val")
    epochs: int = 1
    mutant: str = ""


@dataclass(frozen=True)
class DataFinding:
    """The first array that is not equal.

    Attributes:
        owner: what it is of: ``images``, ``mask`` or an entry of the targets.
        name: of the array.
        error64: nothing, since equal bits have no measure.
    """

    owner: str
    name: str
    error64: None = None


@dataclass(frozen=True)
class DataVerdict:
    """Truthy if there were batches and every array of every batch is equal.

    Attributes:
        compared: number of arrays.
        images: number of photographs.
        different: what is not equal, in words, in the order of the batches.
        first_divergence: where that begins; None if all is equal.
    """

    compared: int
    images: int
    different: tuple[str, ...]
    settings: dict[str, Any] = field(repr=False, default_factory=dict)
    first_divergence: DataFinding | None = None

    rung = "data"

    def __bool__(self) -> bool:
        return self.compared > 0 and not self.different

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for ``--json``."""
        return {
            "rung": self.rung,
            "passed": bool(self),
            "compared": self.compared,
            "images": self.images,
            "different": list(self.different),
            **self.settings,
        }


def compare_data(job: DataJob, progress: Callable[[str, int], None] = lambda _run, _count: None) -> DataVerdict:
    """Have both frameworks read the same epochs and compare what they would train on.

    Args:
        job: what to compare.
        progress: called with a framework and the number of its arrays received.

    Raises:
        InputError: the data cannot be used; see ``detr_common.coco``.
        WorkerError: a worker died, or could not do its part.
    """
    check_root(job.args)
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(framework)) for framework in FRAMEWORKS]
        for worker in workers:
            worker.wait_built()
            mutant = job.mutant if worker.framework == PORT else ""
            worker.ask("data", {}, args=vars(job.args), parts=list(job.parts), epochs=job.epochs, mutant=mutant)
        compared, images, different = 0, 0, []
        first = None
        for theirs, mine in _pairs([worker.entries() for worker in workers]):
            compared += 1
            images += (theirs or mine).name.rpartition("/")[2].startswith("labels.")
            difference = _difference(theirs, mine)
            if difference:
                name = (theirs or mine).name
                first = first or DataFinding(name.rpartition("/")[2].partition(".")[0], name)
                different.append(difference)
            progress("data", compared)
        for worker in workers:
            if worker.failure:
                raise WorkerError(f"{worker.label}: reading failed\n{worker.failure}")
    settings = {
        "mutant": job.mutant,
        "coco_path": str(job.args.coco_path),
        "parts": list(job.parts),
        "epochs": job.epochs,
    }
    return DataVerdict(compared, images, tuple(different), settings, first)


def _pairs(streams: list[Iterator[Entry]]) -> Iterator[tuple[Any, Any]]:
    """Yield what comes from both at the same time; None where one has ended."""
    first, second = streams
    while True:
        pair = next(first, None), next(second, None)
        if pair == (None, None):
            return
        yield pair


def _difference(theirs: Entry | None, mine: Entry | None) -> str:
    if theirs is None or mine is None:
        only = theirs or mine
        return f"{only.name if only else ''}: only in {FRAMEWORKS[0] if theirs else FRAMEWORKS[1]}"
    if theirs.name != mine.name:
        return f"{theirs.name} in {FRAMEWORKS[0]} stands where {mine.name} does in {FRAMEWORKS[1]}"
    a, b = theirs.array, mine.array
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{theirs.name}: {a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}"
    # As bytes, so that -0.0 is not 0.0 and NaN is itself.
    if a.tobytes() != b.tobytes():
        unlike = int((np.asarray(a) != np.asarray(b)).sum())
        return f"{theirs.name}: {unlike} of {a.size} values differ"
    return ""
