"""Workers of PyTorch are forked from one process; they are workers like any others, also where they end badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from detr_common.options import default_args
from parity.batch import photograph_batch
from parity.client import Starting, Worker
from parity.demo import write_seeded_checkpoint
from parity.layers import LayersJob, LayersSession
from parity.nursery import Fork, Nursery, forks
from parity.process import Process, WorkerError, environment
from parity.rungs import PORT, REFERENCE, TRUTH, TWIN, Run

FLOAT32 = (REFERENCE, "float32")
pytestmark = pytest.mark.skipif(not forks(REFERENCE), reason="forks need Linux")

# A nursery whose forks do what they are told, and no framework.
PLAIN = """
import os, random, socket, sys
import numpy as np
from parity.nursery import nurse
from parity.wire import receive, send
{broken}
def serve(requests, answers):
    with os.fdopen(requests, "rb", buffering=0) as reading, os.fdopen(answers, "wb", buffering=0) as writing:
        print("begun", flush=True)
        request, _ = receive(reading)
        if request["do"] == "ends":
            os._exit(request["code"])
        send(writing, {{"pid": os.getpid(), "group": os.getpgid(0), "drawn": [random.random(), np.random.random()]}})
        receive(reading)
nurse(socket.socket(fileno=int(sys.argv[-1])), serve)
"""


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with Nursery([sys.executable, "-c", PLAIN.format(broken="")], environment(None)) as plain:
        yield plain


def test_a_fork_is_a_process_of_its_own(nursery: Nursery) -> None:
    with Process("one", [], nursery=nursery) as one, Process("two", [], nursery=nursery) as two:
        drawn: set[float] = set()
        for process in (two, one):
            process._send({"do": "tell"})
            told = process._answer()[0]
            drawn.update(told.pop("drawn"))
            assert told == {"pid": process._process.pid, "group": process._process.pid}
            assert process._process.poll() is None
        assert len(drawn) == 4, "nothing that is drawn without a seed is the same"
        pids = {nursery.process.pid, one._process.pid, two._process.pid}
        assert len(pids) == 3
        one._requests.close()
        assert one._process.wait(timeout=10) == 1, "it ends when its input does"
        with pytest.raises(subprocess.TimeoutExpired):
            two._process.wait(timeout=0.01)


@pytest.mark.parametrize(("code", "said"), [(0, "ended with code 0"), (7, "ended with code 7")])
def test_how_a_fork_ended_is_known(nursery: Nursery, code: int, said: str) -> None:
    with Process("one", [], nursery=nursery) as one:
        one._send({"do": "ends", "code": code})
        with pytest.raises(WorkerError, match=rf"one: the worker {said}(?s:.*)begun"):
            one._answer()
        assert one._process.poll() == code


def test_one_that_is_killed_tells_the_likely_cause_and_leaves_the_others(nursery: Nursery) -> None:
    with Process("one", [], nursery=nursery) as one, Process("two", [], nursery=nursery) as two:
        os.kill(one._process.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match="killed by SIGKILL; probably out of memory"):
            one._answer()
        two._send({"do": "tell"})
        assert two._answer()[0]["pid"] == two._process.pid


def test_one_that_hangs_is_ended_with_the_block(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Fork.wait
    monkeypatch.setattr(Fork, "wait", lambda self, timeout=None: waits(self, timeout and 0.05))
    with Process("one", [], nursery=nursery) as one:
        os.kill(one._process.pid, signal.SIGSTOP)
    assert state(one._process.pid) == "Z"


def test_a_nursery_that_hangs_before_it_forks_is_ended_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Fork.wait
    monkeypatch.setattr(Fork, "wait", lambda self, timeout=None: waits(self, timeout and 0.05))
    broken = [sys.executable, "-c", PLAIN.format(broken="import time; time.sleep(60)")]
    with Nursery(broken, environment(None)) as nursery, Process("one", [], nursery=nursery) as one:
        assert one._process.poll() is None
    assert nursery.process.returncode == -signal.SIGKILL


def test_forks_that_end_together_are_not_taken_for_each_other(nursery: Nursery) -> None:
    for _ in range(10):
        with ExitStack() as stack:
            forks = {code: stack.enter_context(Process(str(code), [], nursery=nursery)) for code in range(10, 16)}
            for code, fork in forks.items():
                fork._send({"do": "ends", "code": code})
            with ThreadPoolExecutor(len(forks)) as threads:
                said = list(threads.map(lambda fork: str(fork._death()), forks.values()))
        assert [text.splitlines()[0].split(";")[0] for text in said] == [
            f"{code}: the worker ended with code {code}" for code in forks
        ]


def test_no_more_processes_is_told_and_the_next_is_tried() -> None:
    once = "fork = os.fork\ndef full():\n    os.fork = fork\n    raise BlockingIOError(11, 'full')\nos.fork = full"
    with (
        Nursery([sys.executable, "-c", PLAIN.format(broken=once)], environment(None)) as nursery,
        Process("one", [], nursery=nursery) as one,
        Process("two", [], nursery=nursery) as two,
    ):
        with pytest.raises(WorkerError, match=r"one: the worker ended with code 1(?s:.*)no process can be made"):
            one._answer()
        two._send({"do": "tell"})
        assert two._answer()[0]["pid"] == two._process.pid


def test_a_nursery_that_died_is_replaced() -> None:
    with Starting() as start, start(TRUTH) as first:
        first.ready()
        assert isinstance(first._process, Fork)
        assert first._process.pid, "one can be ready before its nursery has told of it, and would count as never made"
        first._process.nursery.kill()
        first._process.nursery.process.wait()
        assert first.usable, "it needs no nursery"
        with start(TWIN) as second:
            second.ready()
            assert isinstance(second._process, Fork) and second._process.nursery is not first._process.nursery


def test_a_framework_that_cannot_be_imported_is_what_every_worker_tells() -> None:
    broken = [sys.executable, "-c", PLAIN.format(broken="import no_such_framework")]
    with Nursery(broken, environment(None)) as nursery:
        for name in ("one", "two"):
            with (
                Process(name, [], nursery=nursery) as process,
                pytest.raises(WorkerError, match=rf"{name}: the worker ended with code 1(?s:.*)no_such_framework"),
            ):
                process._answer()


def test_only_pytorch_is_forked_and_a_session_leaves_no_process() -> None:
    with Starting() as start:
        workers = {run: start(run) for run in (TRUTH, TWIN, (PORT, "float64"))}
        for worker in workers.values():
            worker.ready()
        assert {run[0]: isinstance(worker._process, Fork) for run, worker in workers.items()} == {
            REFERENCE: True,
            PORT: False,
        }
        left = [worker._process.pid for worker in workers.values()]
        nursery = workers[TRUTH]._process.nursery
        for worker in workers.values():
            worker.close()
    assert nursery.process.returncode == 0
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists() and state(pid) != "Z"]


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_forked_and_started_workers_send_the_same_bits(tmp_path: Path) -> None:
    args = default_args(backbone="resnet18", enc_layers=1, dec_layers=1, hidden_dim=64, dim_feedforward=64)
    weights = write_seeded_checkpoint(args, tmp_path / "seeded.pkl")
    job = LayersJob(args, weights, photograph_batch([], 64))
    with LayersSession(lambda run: Worker(run[0]), runs=(FLOAT32, TWIN)) as started:
        started.build(job)
        with LayersSession(runs=(FLOAT32, TWIN)) as forked:
            forked.build(job)
            traces: list[dict[Run, dict[str, bytes]]] = []
            for session in (started, forked):
                traces.append({})
                for run, worker in session.workers.items():
                    job.start(worker)
                    traces[-1][run] = {entry.name: entry.array.tobytes() for entry in worker.entries()}
    assert traces[0] == traces[1]
    assert min(map(len, traces[0].values())) > 100
    assert traces[0][FLOAT32] != traces[0][TWIN], "a twin is not its like"
