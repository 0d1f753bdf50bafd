"""A small trace of two shards, and what the tests of hostile traces do with it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np
import pytest

from detr_common.errors import InputError
from parity import trace as traces
from parity.trace import Entry, Manifest, TraceWriter, read_trace

Content = dict[str, Any]

ARRAYS = {
    "forward/a": np.array([True, False, True]),
    "forward/b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "forward/c[x/y]": np.arange(40, dtype=np.float64).reshape(2, 4, 5),
    "grad/d(é)": np.ones((2, 2), ml_dtypes.bfloat16),
    "forward/empty": np.zeros((0, 3)),
    "forward/number": np.array(7),
}

# Start of a program that measures itself: the most memory that it has had, in bytes. Not getrusage, which goes on
# from what the process was before it ran this program.
PEAK = """
import sys
from pathlib import Path


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
"""

_paths: list[str] | None = None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _paths is not None and isinstance(arguments[0], (str, bytes)):
        _paths.append(os.fsdecode(arguments[0]))


sys.addaudithook(_note)


@contextlib.contextmanager
def opened_files() -> Iterator[list[str]]:
    """Collect the path of every file that is opened in the block."""
    global _paths
    _paths = found = []
    try:
        yield found
    finally:
        _paths = None


def record(folder: Path, manifest: Manifest | None = None) -> Path:
    writer = TraceWriter(folder, manifest or Manifest("torch", "float32", ["a"], {"torch": "2"}, {"seed": 1}))
    with mock.patch.object(traces, "SHARD_BYTES", 100):
        for name, array in ARRAYS.items():
            writer.add(Entry(name, "m", "m.py:1", array, "root", "0 = x"))
        writer.close()
    return folder


def content_of(folder: Path) -> Content:
    content: Content = json.loads((folder / "manifest.json").read_text())
    return content


def put(folder: Path, content: Content, edit: Callable[[Content], Any] = lambda content: None) -> None:
    edit(content)
    (folder / "manifest.json").write_text(json.dumps(content))


def refusal(folder: Path) -> str:
    """The message, after checking that refusing took neither time nor memory and opened nothing outside the folder."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with opened_files() as paths, pytest.raises(InputError) as caught:
            list(read_trace(folder)[1])
        assert time.perf_counter() - start < 5
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()
    assert all(Path(path).parent == folder for path in paths), paths
    message = str(caught.value)
    assert message.startswith(str(folder)) and message.isprintable() and len(message) < len(str(folder)) + 400
    assert any(advice in message for advice in ("record the trace again", "remove it"))
    return message[len(str(folder)) :]
