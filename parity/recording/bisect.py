"""Where two recordings part: the first module whose tensors differ, and the first operation inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from detr_common.errors import InputError
from parity.metrics import measure
from parity.recording.layout import Recording, entries_of, read_recording
from parity.recording.operations import alike
from parity.trace import Entry

LAYERS, OPERATIONS = "layers/float64", "operations/float64"


@dataclass(frozen=True)
class Parting:
    """Where two recordings part.

    Attributes:
        compared: number of tensors that both have.
        module: the first that differs, in the order of the second recording; empty if none does.
        tensor: its first tensor that differs.
        source: file and line.
        problem: how it differs, in words.
        operation: where the second recording departs inside the module: its first operation, with file and line,
            whose result the first has nowhere, after what both have done alike; empty where operations were not
            recorded, or where all are there.
        instead: the first operation of the first recording inside it whose result the second has nowhere.
        operations: number of operations looked at; 0 where they were not recorded.
    """

    compared: int
    module: str = ""
    tensor: str = ""
    source: str = ""
    problem: str = ""
    operation: str = ""
    instead: str = ""
    operations: int = 0

    def __bool__(self) -> bool:
        return self.compared > 0 and not self.module


def bisect(first: Path, second: Path, bound: float = 1e-12) -> Parting:
    """Compare the float64 layers of two recordings, of two frameworks or of one at two times.

    Args:
        first: the recording to trust.
        second: the one to look into.
        bound: largest error that counts as none, as a fraction of a tensor's scale.

    Raises:
        InputError: a folder is no recording, ran on other inputs, or has no float64 layers.
    """
    trusted, other = read_recording(first), read_recording(second)
    if trusted.same["forward"] != other.same["forward"]:
        raise InputError(f"{second}: ran on other inputs than {first}, so that nothing can be told")
    mine, theirs = _index(first, trusted), _index(second, other)
    compared = 0
    shared = {entry.name for entry in entries_of(second, other, LAYERS)} & set(mine)
    missing = [name for name in mine if name not in theirs]
    reference = _Seeker(first, trusted)
    for entry in entries_of(second, other, LAYERS):
        if entry.name not in shared:
            problem = "the first recording has no such tensor"
        else:
            compared += 1
            problem = _problem(entry, reference.seek(entry.name), bound)
        if problem:
            return _with_operations(Parting(compared, entry.owner, entry.name, entry.source, problem), first, second)
    if missing:
        owner, source = mine[missing[0]]
        return Parting(compared, owner, missing[0], source, "the second recording has no such tensor")
    return Parting(compared)


class _Seeker:
    """Finds tensors by name in a trace that has about the order in which they are asked for."""

    def __init__(self, folder: Path, recording: Recording) -> None:
        self._folder, self._recording = folder, recording
        self._stream = entries_of(folder, recording, LAYERS)

    def seek(self, name: str) -> Entry:
        for _ in range(2):
            for entry in self._stream:
                if entry.name == name:
                    return entry
            self._stream = entries_of(self._folder, self._recording, LAYERS)
        raise InputError(f"{self._folder}: {name} is gone from the trace")


def _index(folder: Path, recording: Recording) -> dict[str, tuple[str, str]]:
    return {entry.name: (entry.owner, entry.source) for entry in entries_of(folder, recording, LAYERS)}


def _problem(entry: Entry, truth: Entry, bound: float) -> str:
    if entry.array.shape != truth.array.shape or entry.array.dtype.kind != truth.array.dtype.kind:
        return f"is {entry.array.dtype} {list(entry.array.shape)}, was {truth.array.dtype} {list(truth.array.shape)}"
    error = measure(entry.array, truth.array)
    if error.mismatches:
        return f"{error.mismatches} of {error.size} elements differ"
    return f"differs by {error.relative:.3g} of its scale, above {bound:g}" if error.relative > bound else ""


def _with_operations(parting: Parting, first: Path, second: Path) -> Parting:
    trusted, other = read_recording(first), read_recording(second)
    if OPERATIONS not in trusted.traces or OPERATIONS not in other.traces:
        return parting
    mine, theirs = (_inside(f, r, parting.module) for f, r in ((first, trusted), (second, other)))
    lacking = next(iter(_unmatched(mine, theirs)), None)
    strange = _unmatched(theirs[_after(mine, theirs, lacking) :], mine) or _unmatched(theirs, mine)
    return replace(
        parting,
        operation=_told(strange[0] if strange else None),
        instead=_told(lacking),
        operations=len(mine) + len(theirs),
    )


def _after(mine: Sequence[Entry], theirs: Sequence[Entry], lacking: Entry | None) -> int:
    """Return where the second recording goes on after what the first has done before the lacking operation.

    One framework's operation may be several of the other's, whose results on the way the first has nowhere; those
    before that place are no fault.
    """
    if lacking is None:
        return 0
    before = mine[: [one.name for one in mine].index(lacking.name)]
    for done in reversed(before):
        places = [i for i, other in enumerate(theirs) if alike(done.array, other.array)]
        if places:
            return places[0] + 1
    return 0


def _inside(folder: Path, recording: Recording, module: str) -> list[Entry]:
    """Return the operations of a module's own code and of what it calls, in their order."""
    every = entries_of(folder, recording, OPERATIONS)
    return [entry for entry in every if entry.owner == module or entry.owner.startswith(f"{module}.")]


def _unmatched(some: Sequence[Entry], others: Sequence[Entry]) -> list[Entry]:
    return [one for one in some if not any(alike(one.array, other.array) for other in others)]


def _told(entry: Entry | None) -> str:
    return "" if entry is None else f"{entry.name.rpartition('/')[2].split('#')[0]} ({entry.source})"
