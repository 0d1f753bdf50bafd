"""Taking any module's hook, any tensor or any rung away makes the verdict a failure: shown for each, one by one.

The recordings stand in for workers; what a broken harness would not send is left out of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parity import judge as judging
from parity.judge import Judge
from parity.ladder import LadderVerdict
from parity.policy import Calibrated32, Exact64
from parity.recording.layout import Recording, entries_of, read_recording
from parity.recording.replay import compare_recordings
from parity.rungs import FEW, GRADIENTS, LOSSES, PORT, REFERENCE, RUNS, Run, Rung, layers
from parity.trace import Entry

Keep = Callable[[Run, Entry], bool]
RUNGS = {"layers": layers(Exact64(), Calibrated32(few=FEW, few_max=8)), "losses": LOSSES, "gradients": GRADIENTS}


@pytest.fixture(autouse=True)
def measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the same tensors once: what is left out of a recording is another matter than how far they are off."""
    measure, known = judging._measure, {}

    def remembered(versions: dict[Run, Entry]) -> Any:
        arrays = {run: versions[run].array for run in sorted(versions)}
        key = tuple((run, id(array)) for run, array in arrays.items())
        if key not in known:
            # With the arrays, else another one could come to have the same id.
            known[key] = arrays, measure(versions)
        return known[key][1]

    monkeypatch.setattr(judging, "_measure", remembered)


class Stored:
    """Entries of a rung in all runs, held so that they can be judged again and again."""

    def __init__(self, folders: tuple[Path, Path], rung: str) -> None:
        recorded = {one.framework: (folder, one) for folder in folders for one in [read_recording(folder)]}
        self.rung: Rung = RUNGS[rung]
        self.workers: dict[Run, Any] = {run: _Side(run, recorded[run[0]][1]) for run in RUNS}
        self.entries = {run: list(entries_of(*recorded[run[0]], f"{rung}/{run[1]}")) for run in RUNS}

    def judged(self, keep: Keep) -> Any:
        judge = Judge(self.rung)
        for run in RUNS:
            for entry in self.entries[run]:
                if keep(run, entry):
                    judge.take(run, entry)
        return judge.verdict(self.workers, {})


class _Side:
    def __init__(self, run: Run, recording: Recording) -> None:
        self.label = " ".join(run)
        self.modules, self.resting, self.failure = recording.modules, recording.resting, ""


def module_of(name: str) -> str:
    label = name.partition("/")[2]
    for mark in "#[(":
        label = label.split(mark)[0] or "(root)"
    return "(root)" if name.partition("/")[2].startswith("(root)") else label


def hooks(stored: Stored) -> Iterator[str]:
    """Yield the modules whose hooks put out something."""
    yield from dict.fromkeys(module_of(entry.name) for entry in stored.entries[RUNS[0]])


def test_taking_away_a_modules_hook_on_both_sides_fails(recordings: tuple[Path, Path]) -> None:
    stored = Stored(recordings, "layers")
    assert stored.judged(lambda run, entry: True)
    names = list(hooks(stored))
    assert len(names) > 30
    for name in names:
        assert not stored.judged(lambda run, entry, name=name: module_of(entry.name) != name), name


def test_taking_away_a_modules_hook_on_one_side_fails(recordings: tuple[Path, Path]) -> None:
    for rung in RUNGS:
        stored = Stored(recordings, rung)
        for name in hooks(stored):
            for side in (REFERENCE, PORT):
                left = stored.judged(lambda run, entry, n=name, s=side: run[0] != s or module_of(entry.name) != n)
                assert not left, (rung, side, name)


def test_taking_away_any_tensor_of_any_run_fails(recordings: tuple[Path, Path]) -> None:
    for rung in RUNGS:
        stored = Stored(recordings, rung)
        names = [entry.name for entry in stored.entries[RUNS[0]]]
        for name in names[:: max(1, len(names) // 40)]:
            for gone in RUNS:
                if gone not in stored.rung.due(name):
                    continue
                left = stored.judged(lambda run, entry, n=name, g=gone: run != g or entry.name != n)
                assert not left, (rung, gone, name)


def test_taking_away_a_rung_fails(recordings: tuple[Path, Path]) -> None:
    whole = compare_recordings(*recordings)
    assert whole
    for verdict in whole.verdicts:
        rest = [one for one in whole.verdicts if one is not verdict]
        assert not LadderVerdict(whole.wanted, rest), verdict.rung


def test_a_tensor_that_is_wrong_fails_whichever_it_is(recordings: tuple[Path, Path]) -> None:
    stored = Stored(recordings, "layers")
    for index, entry in enumerate(stored.entries[PORT, "float64"]):
        wrong = entry.array * (1 + 1e-9)
        spoilt = Entry(entry.name, entry.owner, entry.source, wrong, entry.caller, entry.inputs)
        stored.entries[PORT, "float64"][index] = spoilt
        verdict = stored.judged(lambda run, entry: True)
        assert verdict.first_divergence.name == entry.name
        stored.entries[PORT, "float64"][index] = entry
