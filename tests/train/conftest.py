"""How the programs of both packages are run."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(in_process: Any) -> Callable[[Sequence[object]], "subprocess.CompletedProcess[str]"]:
    """Run a command line: ``python -m detr_pt`` in this process, which takes less than to import PyTorch in another.

    For runs that go on from what another process has left, or are compared with one.
    """

    def run(command: Sequence[object]) -> "subprocess.CompletedProcess[str]":
        words = [str(word) for word in command]
        if words[1:3] == ["-m", "detr_pt"]:
            return in_process("detr_pt.__main__", words[3:])
        return subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    return run
