"""What each version of Jittor does with the lines of the catalogue, measured in an environment of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from detr_common.errors import InputError
from parity.gotchas.check import apart, fault_of_correct, fault_of_naive
from parity.gotchas.entry import Gotcha
from parity.gotchas.environments import Place, check_not_full, check_space, install, without_paths
from parity.gotchas.measured import brief
from parity.gotchas.running import Job, NotStarted, Side, run_jobs
from parity.gotchas.values import Outcome

FILE = Path(__file__).parent / "versions.json"

# What is said of a line; the table counts by how it begins.
DESCRIBED = "as described"
AGREES = "agrees with PyTorch"
RAISES = "raises"
ENDS = "ends the process"
HANGS = "hangs"
ELSE = "gives something else"
NOT_RUN = "not run"

_NEEDS_TORCH = re.compile(r"\b(import|from) torch\b")
# Characters of an exception's message that are shown.
_MESSAGE = 100
_PROBE = Gotcha(
    "probe",
    "Which versions these are",
    "Nothing differs.",
    torch="import platform\n[str(torch.__version__), np.__version__, platform.python_version(), 8.0]",
    naive="import platform\nx = jt.array(np.ones((2, 2), np.float32)) + 1\n"
    "[jt.__version__, np.__version__, platform.python_version(), float(x.sum().item())]",
    correct="jt.__version__",
)

Say = Callable[[str], None]
Truth = Mapping[tuple[str, str], Outcome]


@dataclass(frozen=True)
class Told:
    """What is said of one entry with one version.

    Attributes:
        lines: a mark of the lines that this was measured with.
        naive: what the naive line does: ``as described``, or what it does instead.
        correct: the same of the correct line: ``agrees with PyTorch``; empty where the entry has none.
    """

    lines: str
    naive: str
    correct: str = ""


@dataclass(frozen=True)
class Record:
    """What was measured with one version.

    Attributes:
        version: Jittor's.
        missing: why nothing could be run; empty where it could.
        beside: versions of Python, NumPy and PyTorch.
        entries: what is said of each entry.
    """

    version: str
    missing: str = ""
    beside: dict[str, str] = field(default_factory=dict)
    entries: dict[str, Told] = field(default_factory=dict)

    def told(self, entry: Gotcha) -> Told | None:
        """Return what is said of an entry; None where it has not been run since its lines were changed."""
        told = self.entries.get(entry.id)
        return told if told is not None and told.lines == mark(entry) else None


def mark(entry: Gotcha) -> str:
    """Return a few characters that change with what is run for an entry and how it is judged."""
    judged = (entry.inputs, entry.lines, entry.relation.name, entry.error, entry.bound, entry.apart, entry.seed)
    return hashlib.sha256(json.dumps(judged).encode()).hexdigest()[:8]


def measure_versions(
    needed: Sequence[Place], entries: Sequence[Gotcha], say: Say, path: Path = FILE, again: bool = False
) -> list[Record]:
    """Run entries with each version, and keep what they do.

    All environments are made first, since that is where a wrong version shows. What a broken-off run has measured in
    the same folder is kept, entry by entry.

    Args:
        needed: the versions.
        entries: the entries; those without lines are left out.
        say: is told how far it is.
        path: the file of all records. Each version's replaces the one that is there, as soon as it is done.
        again: measure what has been measured in these folders as well.

    Returns:
        The records of these versions.

    Raises:
        InputError: there is no such version, the disk is full, or a file cannot be read or written.
        NotStarted: the PyTorch process did not start.
    """
    entries = [entry for entry in entries if not entry.not_run]
    check_space(needed)
    refused = {}
    for place in needed:
        say(f"{place.version}: the environment in {place.folder}")
        refused[place] = install(place)
    truth: dict[tuple[str, str], Outcome] = {}
    records = []
    for place in needed:
        old = None if again else read_records(place.record).get(place.version)
        left = [entry for entry in entries if old is None or old.told(entry) is None]
        if refused[place]:
            record = Record(place.version, f"cannot be installed: {refused[place]}")
        elif old is not None and not left:
            say(f"{place.version}: measured before; --again measures it anew")
            record = old
        else:
            if new := [entry for entry in left if (entry.id, "torch") not in truth]:
                say(f"PyTorch: running the lines of {len(new)} entries")
                truth |= run_jobs([Job(entry, "torch") for entry in (_PROBE, *new)], Side())
            record = measure(place.version, place.side, left, truth, say)
            check_not_full(place)
            if old is not None and not record.missing:
                record = Record(place.version, "", record.beside, old.entries | record.entries)
        keep_record(place.record, record)
        keep_record(path, record)
        records.append(record)
    return records


def measure(version: str, side: Side, entries: Sequence[Gotcha], truth: Truth, say: Say) -> Record:
    """Run the Jittor lines of entries with one version.

    Whatever is not as described is run once more in a process of its own, and that is what counts: an earlier line
    may have damaged the process.

    Args:
        version: the version that must be found there.
        side: what runs them.
        entries: the entries.
        truth: what the PyTorch lines gave.
        say: is told how far it is.
    """
    say(f"{version}: importing Jittor, which compiles its core first")
    try:
        probe = run_jobs([Job(_PROBE, "naive")], side)["probe", "naive"]
    except NotStarted as error:
        ended = f"{error.last_line} (the process {error.reason})" if error.last_line else f"the process {error.reason}"
        return Record(version, f"cannot be imported: {without_paths(ended)}")
    if probe.kind != "value" or probe.value[-1] != 8.0:
        return Record(version, f"cannot compute 1 + 1: {_does(_PROBE, probe, truth['probe', 'torch'], 0.0)}")
    if probe.value[0] != version:
        raise InputError(f"Jittor {probe.value[0]} is installed where {version} should be; remove {side.python}")
    beside = {"python": probe.value[2], "numpy": probe.value[1], "torch": truth["probe", "torch"].value[0]}
    jobs = [Job(entry, name) for entry in entries for name in entry.lines if name != "torch"]
    runnable = [job for job in jobs if not _NEEDS_TORCH.search(job.entry.lines[job.name])]
    say(f"{version}: running {len(runnable)} lines")
    outcomes = run_jobs(runnable, side)
    expected = {"naive": DESCRIBED, "correct": AGREES}
    doubtful = [job for job in runnable if _line(job, outcomes[job.key], truth) != expected[job.name]]
    say(f"{version}: running {len(doubtful)} of them again, each on its own")
    for job in doubtful:
        outcomes |= run_jobs([job], side)
    said = {
        job.key: _line(job, outcomes[job.key], truth) if job.key in outcomes else f"{NOT_RUN}: needs PyTorch beside it"
        for job in jobs
    }
    told = {
        entry.id: Told(mark(entry), said[entry.id, "naive"], said.get((entry.id, "correct"), "")) for entry in entries
    }
    return Record(version, "", beside, told)


def _line(job: Job, outcome: Outcome, truth: Truth) -> str:
    entry, given = job.entry, truth[job.entry.id, "torch"]
    if given.kind in ("died", "hung"):
        return f"{NOT_RUN}: the PyTorch line {given.kind} ({given.detail})"
    if job.name == "naive":
        fault = fault_of_naive(entry, outcome, given)
        return _does(entry, outcome, given, entry.apart or entry.bound) if fault else DESCRIBED
    # To raise another exception than PyTorch's is to raise for another reason: something is missing in this version.
    agrees = not fault_of_correct(entry, outcome, given) and outcome.exception == given.exception
    return AGREES if agrees else _does(entry, outcome, given, entry.bound)


def _does(entry: Gotcha, outcome: Outcome, truth: Outcome, bound: float) -> str:
    """Say what a line does, in the words that the table counts by."""
    match outcome.kind:
        case "died":
            return f"{ENDS} ({outcome.detail})"
        case "hung":
            return f"{HANGS} ({outcome.detail})"
        case "raised":
            name, _, message = outcome.detail.partition(":")
            message = without_paths(message.strip())
            shown = message[:_MESSAGE] + "…" * (len(message) > _MESSAGE)
            return f"{RAISES} {name}: {shown}" if shown else f"{RAISES} {name}"
    away = apart(outcome, truth)
    if away <= bound:
        return AGREES if away <= entry.bound else f"{AGREES} to {away:.1g}"
    return ELSE if entry.undefined else f"{ELSE}: {brief(outcome)}"


def read_records(path: Path = FILE) -> dict[str, Record]:
    """Return the records of a file by version, the oldest version first; none where there is no file.

    Raises:
        InputError: the file is damaged.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {
            version: Record(**{**fields, "entries": {id: Told(*told) for id, told in fields["entries"].items()}})
            for version, fields in data.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: no records of versions ({error}); remove it, and they are measured anew") from error


def keep_record(path: Path, record: Record) -> None:
    """Put a record into a file, in place of that version's own.

    Raises:
        InputError: the file cannot be read or written.
    """
    records = read_records(path) | {record.version: record}
    blocks = []
    for version in sorted(records, key=_sorting):
        fields = asdict(records[version])
        entries = fields.pop("entries")
        lines = ",\n".join(
            f"   {json.dumps(id)}: {json.dumps(list(told.values()), ensure_ascii=False)}"
            for id, told in entries.items()
        )
        head = json.dumps(fields, ensure_ascii=False)[1:-1]
        blocks.append(f' {json.dumps(version)}: {{{head}, "entries": {{\n{lines}\n  }}}}')
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _sorting(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
