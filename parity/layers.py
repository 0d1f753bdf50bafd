"""The layers rung: every tensor that crosses a module boundary, in both frameworks and both precisions.

A worker runs for each framework and arithmetic, all at once. Their tensors are compared as they come and freed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from detr_common.errors import InputError
from parity import rungs
from parity.batch import is_large
from parity.capture import RECENT
from parity.client import Starting, Worker
from parity.judge import Judge
from parity.policy import Calibrated32, Exact64
from parity.process import WorkerError
from parity.rungs import PORT, RUNS, TWIN_SEEDS, Run, foremost
from parity.trace import Array, Entry, Manifest, TraceWriter
from parity.turns import Progress, hear
from parity.usage import check_module
from parity.verdict import LayersVerdict

Images = Sequence[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class LayersJob:
    """What to compare.

    Attributes:
        args: options of the detector; its dtype is set for each run.
        weights: the checkpoint of the reference.
        images: float32 [3, H, W] each; of unequal size, so that padding is tested.
        port_weights: the checkpoint of the port, if it is another file.
        mutant: name of a fault to plant in the port.
        exact: policy of the float64 comparison.
        calibrated: policy of the float32 comparison.
        keep: folder under which the traces are kept; None keeps none.
        show: a module that the report will list, which must be there; empty names none.
        inputs: names, sizes and hashes of checkpoints and images, for the settings (``parity.provenance``).
    """

    args: argparse.Namespace
    weights: Path
    images: Images
    port_weights: Path | None = None
    mutant: str = ""
    exact: Exact64 = field(default_factory=Exact64)
    calibrated: Calibrated32 = field(default_factory=lambda: Calibrated32(few=rungs.FEW, few_max=8))
    keep: Path | None = None
    show: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)

    def build(self, run: Run, worker: Worker) -> None:
        """Ask a worker for the model of one run."""
        framework, arithmetic = run
        device = rungs.device_of(arithmetic, self.args.device)
        args = argparse.Namespace(**{**vars(self.args), "dtype": arithmetic.split("-")[0], "device": device})
        weights = self.port_weights if framework == PORT and self.port_weights else self.weights
        worker.build(args, weights, self.mutant if framework == PORT else "", twin=TWIN_SEEDS.get(arithmetic, 0))

    def start(self, worker: Worker) -> None:
        """Start a forward pass whose tensors are wanted.

        Raises:
            InputError: there is no image.
        """
        if not self.images:
            raise InputError("no image to run the models on; give at least one photograph")
        worker.start(self.images, capture=True)

    def forward_arrays(self) -> dict[str, Array]:
        """Return what the forward pass runs on, by name."""
        return {f"image.{i}": image for i, image in enumerate(self.images)}

    def what_is_trained(self) -> str:
        """Return in words which losses and rates the steps have."""
        return str({k: v for k, v in sorted(vars(self.args).items()) if k not in ("dtype", "device")})

    def rate(self, parameter: str) -> float:
        """Return the learning rate of a parameter."""
        return float(self.args.lr_backbone if "backbone" in parameter else self.args.lr)

    def settings(self, workers: Mapping[Run, Worker]) -> dict[str, Any]:
        """Return what was run, for the reader and for the manifest."""
        return {
            "args": {name: value for name, value in vars(self.args).items() if name != "dtype"},
            "weights": {"name": self.weights.name},
            "port_weights": {"name": (self.port_weights or self.weights).name},
            "images": [{"shape": list(image.shape)} for image in self.images],
            **self.inputs,
            "mutant": self.mutant,
            "environment": environments(workers),
        }


class ModelJob(Protocol):
    """What the rungs ask of a job, whatever the models are; ``LayersJob`` is DETR's.

    Attributes:
        exact: policy of the float64 comparison of layers.
        calibrated: policy of the float32 comparison of layers.
        keep: folder under which the traces are kept; None keeps none.
        show: a module that the report will list; empty names none.
    """

    @property
    def exact(self) -> Exact64: ...  # noqa: D102
    @property
    def calibrated(self) -> Calibrated32: ...  # noqa: D102
    @property
    def keep(self) -> Path | None: ...  # noqa: D102
    @property
    def show(self) -> str: ...  # noqa: D102

    def build(self, run: Run, worker: Worker) -> None:
        """Ask a worker for the model of one run."""

    def start(self, worker: Worker) -> None:
        """Start a forward pass whose tensors are wanted."""

    def forward_arrays(self) -> dict[str, Array]:
        """Return what the forward pass runs on, by name."""

    def what_is_trained(self) -> str:
        """Return in words which losses and rates the steps have, to tell recordings of other ones."""

    def rate(self, parameter: str) -> float:
        """Return the learning rate of a parameter, by its name in a trace."""

    def settings(self, workers: Mapping[Run, Worker]) -> dict[str, Any]:
        """Return what was run, for the reader and for the manifest."""


class LayersSession:
    """Workers, one for each framework and arithmetic, that serve one comparison after another.

    Use as a context manager.

    Args:
        start: starts the worker of a run; by default a process of this Python with DETR in it.
        runs: those that are compared (``parity.rungs.RUNS_OF``).
        sparing: let one worker compute at a time, and what it sends wait on disk: for batches of which all workers
            together would need too much memory (``parity.batch.large``).
    """

    def __init__(
        self,
        start: Callable[[Run], Worker] | None = None,
        runs: Sequence[Run] = RUNS,
        sparing: bool = False,
    ) -> None:
        self.start = start or Starting()
        self.sparing = sparing
        with ExitStack() as stack:
            if isinstance(self.start, Starting):
                stack.enter_context(self.start)
            self.workers = {run: stack.enter_context(self.start(run)) for run in runs}
            self._stack = stack.pop_all()

    def __enter__(self) -> LayersSession:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def usable(self) -> bool:
        """Whether another comparison can be made; not after one that was broken off, or where a worker has died."""
        return all(worker.usable for worker in self.workers.values())

    def check(self) -> None:
        """Refuse to go on where a worker would answer an earlier request.

        Raises:
            WorkerError: a comparison was broken off while workers were answering.
        """
        owing = [worker.label for worker in self.workers.values() if worker.owed]
        if owing:
            raise WorkerError(
                f"an earlier comparison was broken off while {', '.join(owing)} {'was' if len(owing) == 1 else 'were'} "
                "answering, and its answers would be taken for those of the next one; close this session and start "
                "another"
            )

    def build(self, job: ModelJob) -> None:
        """Let every worker have its model.

        Raises:
            InputError: weights or options that cannot be used.
            WorkerError: a worker died, or an earlier comparison was broken off.
        """
        self.check()
        for run, worker in self.workers.items():
            job.build(run, worker)
        # All are waited for before one is heard, so that none keeps an answer that belongs to this job.
        refusals = [refusal for worker in self.workers.values() if (refusal := refusal_of(worker))]
        if refusals:
            raise refusals[0]

    def compare(self, job: ModelJob, progress: Progress = lambda _run, _count: None) -> LayersVerdict:
        """Run both models in both precisions and judge every tensor.

        Args:
            job: what to compare.
            progress: called with a run's label and the number of its tensors received; by another thread where the
                session is sparing.

        Raises:
            InputError: nothing to run on, no such module to show, or weights or options that cannot be used.
            WorkerError: a worker died.
        """
        workers = self.workers
        self.build(job)
        check_module(job.show, [module for worker in workers.values() for module in worker.modules])
        keepers = _keepers(job, workers)
        judge = Judge(rungs.layers(job.exact, job.calibrated), tuple(workers), recent_of(workers))

        def start(run: Run) -> None:
            job.start(workers[run])

        def keep(run: Run, entry: Entry) -> None:
            keepers[run].add(entry)

        for run, entry, place in hear(workers, start, progress, self.sparing, note=keep if keepers else None):
            judge.take(run, entry, place)
        for keeper in keepers.values():
            keeper.close()
        return judge.verdict(workers, job.settings(workers))

    def plain(self, images: Images) -> dict[Run, tuple[dict[str, Array], float]]:
        """Run the models built last without capturing, one after another.

        Returns:
            Results by name, and seconds of the forward pass, for each run.
        """
        return {run: (worker.run(images), worker.seconds) for run, worker in self.workers.items()}

    def captured_results(self) -> dict[Run, dict[str, Array]]:
        """Return what the last comparison's forward passes gave, by name, for each run."""
        return {run: worker.results for run, worker in self.workers.items()}


def compare_layers(job: LayersJob, progress: Progress = lambda _run, _count: None) -> LayersVerdict:
    """Run one comparison with workers of its own; see ``LayersSession.compare``."""
    with LayersSession(sparing=is_large(job.images)) as session:
        return session.compare(job, progress)


def refusal_of(worker: Worker) -> InputError | WorkerError | None:
    """Wait for a worker's model; return why there is none."""
    try:
        worker.wait_built()
    except (InputError, WorkerError) as error:
        return error
    return None


def _keepers(job: ModelJob, workers: dict[Run, Worker]) -> dict[Run, TraceWriter]:
    if job.keep is None:
        return {}
    return {
        run: TraceWriter(
            job.keep / "-".join(run),
            Manifest(run[0], run[1], worker.modules, worker.environment, job.settings(workers)),
        )
        for run, worker in workers.items()
    }


def recent_of(workers: Mapping[Run, Worker]) -> int:
    """Return how many tensors back one that is passed on is looked for: in recordings none is the same object."""
    return RECENT if all(worker.ahead for worker in workers.values()) else 0


def environments(workers: Mapping[Run, Worker]) -> dict[str, dict[str, str]]:
    """Return versions and flags of both frameworks."""
    sides = dict.fromkeys(framework for framework, _ in workers)
    return {framework: workers[foremost(framework, workers)].environment for framework in sides}
