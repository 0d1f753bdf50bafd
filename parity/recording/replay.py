"""Compares recordings: they answer in place of workers, and the rungs judge as they always do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detr_common.errors import InputError
from parity import rungs
from parity.client import Worker
from parity.ladder import LadderJob, climb
from parity.layers import LayersSession, environments
from parity.policy import Calibrated32, Exact64
from parity.port.names import WeightsVerdict
from parity.port.verdict import PortVerdict
from parity.recording.layout import Recording, entries_of, read_choices, read_recording
from parity.recording.shelf import Shelf
from parity.rungs import PORT, REFERENCE, Run
from parity.spool import Waiting
from parity.trace import Entry
from parity.training import Progress, silent
from parity.wire import Array

# What each side told of its modules in training, in its settings.
_MODES = "in_training"


def compare_recordings(
    first: Path, second: Path, show: str = "", progress: Progress = silent, job: ReplayJob | None = None
) -> PortVerdict:
    """Compare a recording of PyTorch with one of Jittor that followed it; neither framework is needed.

    Args:
        first: one folder.
        second: the other; which is which they tell themselves.
        show: a module that must be there; the story lists its tensors.
        progress: called with a run's label and the number of its tensors read.
        job: policies, if they are others.

    Raises:
        InputError: a folder is no recording, they do not belong together, or a trace is damaged.
    """
    folders = {read_recording(folder).framework: folder for folder in (first, second)}
    if set(folders) != {REFERENCE, PORT}:
        only = next(iter(folders))
        raise InputError(f"both are recordings of {only}; name one of PyTorch and one of Jittor (or use parity bisect)")
    recordings = {framework: read_recording(folder) for framework, folder in folders.items()}
    reference, port = recordings[REFERENCE], recordings[PORT]
    check_pair(reference, port, folders)
    same = reference.same
    job = job or ReplayJob(recordings, show=show)
    wanted = ("weights", *same["rungs"])
    verdicts: list[Any] = [weights_of(reference, port)]
    with LayersSession(lambda run: RecordedWorker(run, folders[run[0]], recordings[run[0]])) as session:
        ladder = LadderJob(
            job, _Nothing(), same["forced"], same["free"], same["seed"], rungs=wanted[1:], more=(), drop=same["drop"]
        )
        verdicts += climb(session, ladder, progress).verdicts
    return PortVerdict(wanted, verdicts, {}, show)


def check_pair(reference: Recording, port: Recording, folders: Mapping[str, Path]) -> None:
    """Refuse recordings that do not belong together.

    Raises:
        InputError: says what differs.
    """
    other = [key for key, value in reference.same.items() if port.same.get(key) != value]
    if other:
        raise InputError(f"{folders[PORT]}: was recorded with other {', '.join(other)} than {folders[REFERENCE]}")
    if port.follows != reference.identity:
        raise InputError(
            f"{folders[PORT]}: followed another recording than {folders[REFERENCE]}, or that one was recorded again "
            f"since; record Jittor with --from {folders[REFERENCE]}"
        )


def weights_of(reference: Recording, port: Recording) -> WeightsVerdict:
    """Tell whether both models had the same weights."""
    theirs, own = reference.weights, port.weights
    both = [name for name in theirs if name in own]
    shapes = [(name, reference.own[name], port.own[name]) for name in both if reference.own[name] != port.own[name]]
    return WeightsVerdict(
        matched=len(both) - len(shapes),
        missing=[name for name in theirs if name not in own],
        unexpected=[name for name in own if name not in theirs],
        shapes=shapes,
        differing=[name for name in both if theirs[name] != own[name] and reference.own[name] == port.own[name]],
        settings={"renames": port.rules},
    )


@dataclass(frozen=True)
class ReplayJob:
    """What the rungs ask of recordings; see ``parity.layers.ModelJob``."""

    recordings: Mapping[str, Recording]
    exact: Exact64 = field(default_factory=Exact64)
    calibrated: Calibrated32 = field(default_factory=lambda: Calibrated32(few=rungs.FEW, few_max=8))
    keep: Path | None = None
    show: str = ""

    def build(self, run: Run, worker: Worker) -> None:
        """Do nothing: it was built when it was recorded."""

    def start(self, worker: Worker) -> None:
        """Start to read the layers."""
        worker.ask("forward", {})

    def forward_arrays(self) -> dict[str, Array]:
        """Return nothing: what it ran on is not needed again."""
        return {}

    def what_is_trained(self) -> str:
        """Return nothing, likewise."""
        return ""

    def rate(self, parameter: str) -> float:
        """Return the learning rate of a parameter."""
        fitting = [rate for part, rate in self.recordings[REFERENCE].rates if part in parameter]
        return float(fitting[-1]) if fitting else 0.0

    def settings(self, workers: Mapping[Run, Worker]) -> dict[str, Any]:
        """Return what was recorded."""
        port = self.recordings[PORT].settings
        modes = {key: one for side in self.recordings.values() for key, one in side.settings.get(_MODES, {}).items()}
        return {**port, _MODES: modes, "environment": environments(workers), "recorded": True}


class RecordedWorker(Worker):
    """Reads from a recording what a worker would send.

    Args:
        run: whose traces.
        folder: of the recording.
        recording: what it holds.
    """

    # Nothing is gained by reading ahead of what is compared.
    ahead = 0

    def __init__(self, run: Run, folder: Path, recording: Recording) -> None:
        self.framework, self._arithmetic = run
        self.label = " ".join(run)
        self._folder = folder
        self._recording = recording
        self.modules = recording.modules
        self.resting = recording.resting
        self.environment = recording.environment
        self.results: dict[str, Array] = {}
        self.failure = ""
        self.seconds = 0.0
        self._place = ""

    def wait_built(self) -> None:
        """Return at once."""

    def ready(self) -> None:
        """Return at once."""

    def ask(self, do: str, arrays: Mapping[str, Array], **details: Any) -> None:
        """Turn to the trace of a pass."""
        self.results, self.failure = {}, ""
        names = {"forward": "layers", "losses": "losses", "gradients": "gradients"}
        names |= dict.fromkeys(("choose", "prepare", "finish"), "")
        name = names.get(do, f"{'forced' if details.get('forced') else 'free'}{details.get('number')}")
        self._place = f"{name}/{self._arithmetic}" if name else ""
        if do == "choose":
            self.results = read_choices(self._folder, "gradients")

    def entries(self) -> Iterator[Entry]:
        """Yield the tensors of the trace, one by one."""
        if self._place:
            yield from entries_of(self._folder, self._recording, self._place)
            self.failure = self._recording.failures.get(self._place, "")

    def waiting(self) -> Waiting:
        """Return the tensors of the trace, to be read by their names."""
        shelf = Shelf(self._folder, self._recording, self._place)
        self.failure = self._recording.failures.get(self._place, "")
        return shelf

    @property
    def usable(self) -> bool:
        """Always: each pass has its own trace."""
        return True

    def close(self) -> None:
        """Do nothing: files are closed when they are read."""


class _Nothing:
    """What recordings are fed."""

    def arrays(self) -> dict[str, Array]:
        """Return nothing."""
        return {}
