"""Workers that cannot do what they are asked, or die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detr_common.errors import InputError
from detr_common.options import default_args
from parity.client import Worker
from parity.layers import LayersSession
from parity.process import WorkerError
from parity.run_by_run import prepare
from parity.rungs import PORT, REFERENCE, TRUTH
from parity.trace import Entry
from parity.turns import in_turns


@pytest.mark.parametrize("framework", ["torch", "jittor"])
def test_a_gpu_that_is_not_there_is_refused_by_the_framework(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, framework: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with Worker(framework) as worker:
        worker.build(default_args(device="cuda"), tmp_path / "never-read.pkl")
        with pytest.raises(InputError, match=r"--device cuda: .* no GPU"):
            worker.wait_built()


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (signal.SIGKILL, "probably out of memory; try a smaller --size"),
        (signal.SIGTERM, "something ended it; run the same command again"),
        (signal.SIGSEGV, "doctor tells what is wrong with the installation"),
    ],
)
def test_a_worker_that_was_killed_tells_the_likely_cause(end: int, said: str) -> None:
    with Worker("torch") as worker:
        os.kill(worker._process.pid, end)
        with pytest.raises(WorkerError, match=f"{signal.Signals(end).name}.*{said}") as death:
            worker.wait_built()
    assert ("installation" in str(death.value)) == (end == signal.SIGSEGV)


def test_a_session_that_was_broken_off_refuses_the_next_comparison() -> None:
    job: Any = SimpleNamespace(build=lambda *_: pytest.fail("a worker was asked although it owes an answer"))
    with LayersSession(runs=(TRUTH,)) as session:
        assert session.usable
        session.workers[TRUTH].ask("nothing that it knows", {})
        assert not session.usable
        with pytest.raises(WorkerError, match=r"broken off while torch was answering.*start another"):
            session.build(job)
        with pytest.raises(WorkerError, match="no such request"):
            session.workers[TRUTH].answer()
        # What was heard to its end, be it a failure, leaves nothing for the next one.
        assert session.usable
        session.check()
        os.kill(session.workers[TRUTH]._process.pid, signal.SIGKILL)
        session.workers[TRUTH]._process.wait()
        assert not session.usable


class Speaking:
    """A worker with three tensors to send; one that refuses does so after the first."""

    ahead = 0
    label = "speaking"

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
        self.ended = False

    def entries(self) -> Iterator[Entry]:
        for number in range(3):
            yield Entry(str(number), "", "", np.zeros(1))
            if self.refuses:
                raise InputError("a target that cannot be used")
        self.ended = True

    def ask(self, do: str, arrays: Any) -> None:
        self.ended = False

    def answer(self) -> dict[str, Any]:
        self.ended = True
        if self.refuses:
            raise WorkerError("the optimizer cannot be built")
        return {}


@pytest.mark.parametrize("refusing", [0, 1])
def test_where_one_worker_refuses_the_others_are_heard_to_the_end(refusing: int) -> None:
    workers: Any = {run: Speaking(i == refusing) for i, run in enumerate([(REFERENCE, "float64"), (PORT, "float64")])}
    with pytest.raises(InputError, match="a target"):
        list(in_turns(workers, lambda *_: None))
    assert [worker.ended for worker in workers.values()] == [i != refusing for i in range(2)]
    with pytest.raises(WorkerError, match="cannot be built"):
        prepare(workers)
    assert all(worker.ended for worker in workers.values())
