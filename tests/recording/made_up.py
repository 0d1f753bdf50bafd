"""Recordings without a framework: of layers whose tensors are as large as is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from parity.recording.layout import Recording
from parity.rungs import PORT, REFERENCE, RUNS
from parity.trace import Entry, Manifest, TraceWriter, trace_hash


def make(folder: Path, shapes: Sequence[tuple[int, ...]], backwards: bool = False) -> tuple[Path, Path]:
    """Write a recording of PyTorch and one of Jittor that agree, and return their folders.

    Args:
        folder: for both.
        shapes: of the tensors, one for each module.
        backwards: whether Jittor's come in the opposite order, as gradients may.
    """
    names = [f"m{i}" for i in range(len(shapes))]
    identity = ""
    for framework in (REFERENCE, PORT):
        out = folder / framework
        traces = {}
        for _, arithmetic in (run for run in RUNS if run[0] == framework):
            place = f"layers/{arithmetic}"
            writer = TraceWriter(out / place, Manifest(framework, arithmetic, names, {}, {}))
            numbered = list(enumerate(shapes))
            for i, shape in reversed(numbered) if backwards and framework == PORT else numbered:
                dtype = arithmetic.split("-")[0]
                writer.add(Entry(f"forward/m{i}", f"m{i}", f"f.py:{i + 1}", np.full(shape, 1 + i, dtype)))
            writer.close()
            traces[place] = trace_hash(out / place)
        same = {"rungs": ["layers"], "forced": 0, "free": 0, "drop": 3, "seed": 0, "inputs": [], "forward": {}}
        recording = Recording(
            framework, same, {"w": "x"}, [], {}, {}, names, follows=identity, traces=traces, own={"w": [1]}
        )
        recording.write(out)
        identity = recording.identity
    return folder / REFERENCE, folder / PORT
