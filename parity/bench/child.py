"""Python run once in a process of its own, for what it prints."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

from parity.process import WorkerError

_SHOWN = 10


def run_python(label: str, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run this Python, and return what it printed on standard output.

    Args:
        label: what is measured, for the message.
        arguments: of Python.
        environment: all variables of the process.

    Raises:
        WorkerError: it failed; the message holds what it last said.
    """
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-_SHOWN:])
        raise WorkerError(f"{label}: the process ended with code {done.returncode}. It last said:\n{last}")
    return done.stdout
