"""How the programs of both packages are run."""

import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from command_lines import call


@pytest.fixture
def program(in_process: Any) -> Callable[[Sequence[object]], "subprocess.CompletedProcess[str]"]:
    """Run a command line: ``python -m detr_pt`` in this process, which takes less than to import PyTorch in another.

    For runs that go on from what another process has left, or are compared with one.
    """

    def run(command: Sequence[object]) -> "subprocess.CompletedProcess[str]":
        if list(command[1:3]) == ["-m", "detr_pt"]:
            return in_process("detr_pt.__main__", command[3:])
        return call(command)

    return run
