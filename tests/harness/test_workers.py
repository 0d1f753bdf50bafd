"""Workers that cannot do what they are asked, or die."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from detr_common.errors import InputError
from detr_common.options import default_args
from parity.client import Worker, WorkerError


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
