"""A command line in a process of its own."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def call(command: Sequence[object]) -> "subprocess.CompletedProcess[str]":
    """Run it from the folder of the project."""
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
