"""Runs the lines of entries and judges whether each entry is true of the installed versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parity.gotchas.entry import Gotcha, Relation
from parity.gotchas.running import Job, Side, run_jobs
from parity.gotchas.values import Outcome, distance


@dataclass(frozen=True)
class Finding:
    """Whether an entry is true of the installed versions.

    Attributes:
        entry: the entry.
        outcomes: what became of each of its lines.
        faults: what is not as the entry says; empty where all is.
    """

    entry: Gotcha
    outcomes: dict[str, Outcome]
    faults: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.faults


def check(entries: Sequence[Gotcha], side: Side | None = None) -> list[Finding]:
    """Run the lines of all entries that have some, and judge each entry.

    PyTorch and Jittor run in processes of their own; so do naive lines that may corrupt memory, and each line of an
    entry that asks for it.

    Args:
        entries: the entries.
        side: the interpreter that runs the lines; this one by default.

    Raises:
        NotStarted: a process did not come so far that it could run a line.
    """
    results = run_jobs([Job(entry, name) for entry in entries for name in entry.lines], side or Side())
    return [
        judge(entry, {name: results[entry.id, name] for name in entry.lines}) for entry in entries if not entry.not_run
    ]


def judge(entry: Gotcha, outcomes: dict[str, Outcome]) -> Finding:
    """Compare what the lines gave with what the entry says of them."""
    truth = outcomes["torch"]
    faults = [f"the PyTorch line {truth.kind}: {truth.detail}"] if truth.kind in ("died", "hung") else []
    faults.append(fault_of_naive(entry, outcomes["naive"], truth))
    if "correct" in outcomes:
        faults.append(fault_of_correct(entry, outcomes["correct"], truth))
    return Finding(entry, outcomes, tuple(filter(None, faults)))


def fault_of_naive(entry: Gotcha, naive: Outcome, truth: Outcome) -> str:
    """Say what the naive line does instead of what its entry says of it; nothing where it does that."""
    away = apart(naive, truth)
    match entry.relation:
        case Relation.RAISES if naive.exception != entry.error:
            return f"the naive line was to raise {entry.error}; it {_told(naive)}"
        case Relation.DIES if naive.kind != "died":
            return f"the naive line was to end its process; it {_told(naive)}"
        case Relation.AGREES if away > entry.bound:
            return f"the naive line is said to agree; it is {away:.2g} apart: it {_told(naive)}"
        case Relation.DIFFERS if naive.kind != "value":
            return f"the naive line was to give a value; it {_told(naive)}"
        case Relation.DIFFERS if away <= (entry.apart or entry.bound):
            return f"the naive line agrees with PyTorch, to {away:.2g}"
    return ""


def fault_of_correct(entry: Gotcha, correct: Outcome, truth: Outcome) -> str:
    """Say how the correct line fails to agree with PyTorch's; nothing where it agrees."""
    away = apart(correct, truth)
    if away > entry.bound:
        return f"the correct line is {away:.2g} apart, above {entry.bound:.2g}: it {_told(correct)}"
    return ""


def apart(outcome: Outcome, truth: Outcome) -> float:
    """Return how far an outcome is from PyTorch's, as `distance`; infinite where it is of another kind."""
    if outcome.kind != truth.kind:
        return float("inf")
    return distance(outcome.value, truth.value) if outcome.kind == "value" else 0.0


def _told(outcome: Outcome) -> str:
    return f"gave {str(outcome.value)[:200]}" if outcome.kind == "value" else f"{outcome.kind} ({outcome.detail[:300]})"
