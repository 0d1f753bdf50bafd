"""Whole runs that are broken off, what is told of them meanwhile, and what too few twins say."""

import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parity.process import WorkerError
from parity.runs import training
from parity.runs.curves import Curves, Inside
from parity.runs.training import Start, TrainJob, train_all
from parity.runs.verdict import TrainVerdict
from parity.train_cli import _run_bars


class Endless:
    """A worker that trains until it is killed, or raises if it is the port's."""

    made: ClassVar[list["Endless"]] = []

    def __init__(self, framework: str, threads: int) -> None:
        self.framework, self.failure, self.killed = framework, "", threading.Event()
        self.made.append(self)

    def __enter__(self) -> "Endless":
        return self

    def __exit__(self, *_: object) -> None: ...

    def ready(self) -> None: ...

    def ask(self, *_: object, **__: Any) -> None: ...

    def kill(self) -> None:
        self.killed.set()

    def entries(self) -> Iterator[Any]:
        if self.framework == "jittor":
            raise WorkerError("jittor: out of memory")
        assert self.killed.wait(60), "nobody ended it"
        raise WorkerError(f"{self.framework}: was killed")
        yield


def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "Worker", Endless)
    monkeypatch.setattr(Endless, "made", [])
    train_all(TrainJob(Namespace(epochs=1), tmp_path, jobs=2), Start(tmp_path / "weights.pkl", 1), lambda *_: None)


def test_a_run_that_fails_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkerError, match="out of memory"):
        start(tmp_path, monkeypatch)
    assert len(Endless.made) >= 2 and all(worker.killed.is_set() for worker in Endless.made)


def test_an_interrupt_ends_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(training, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, monkeypatch)
    assert Endless.made and all(worker.killed.is_set() for worker in Endless.made)


def test_without_a_terminal_each_run_is_told_of_twice(capsys: pytest.CaptureFixture[str]) -> None:
    with _run_bars(quiet=False) as progress:
        for step in range(1, 4):
            progress("torch", step, 3)
        progress("jittor", 2, 3)
    assert capsys.readouterr().err.splitlines() == ["torch: step 1 of 3", "torch: step 3 of 3", "jittor: step 2 of 3"]
    with _run_bars(quiet=True) as progress:
        progress("torch", 1, 3)
    assert not capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt), _run_bars(quiet=False):
        raise KeyboardInterrupt
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize(("correct", "told"), [((1.6, 3.1), True), ((1.6, 1.9), False), ((), False)])
def test_too_few_twins_are_told_of(correct: tuple[float, ...], told: bool) -> None:
    curve = Inside("train_loss", (0.0, 3.3), (1.0, 1.0), 2.0, (2.0, 3.3), correct)
    runs = {name: Curves((), ({"epoch": 0, "train_loss": 1.0},)) for name in ("torch", "jittor", "twin1", "twin2")}
    verdict = TrainVerdict(None, (curve,), runs, ())
    assert not verdict, "the bound is what it was"
    assert any("the same command with --twins 8" in line for line in verdict.lines()) == told
