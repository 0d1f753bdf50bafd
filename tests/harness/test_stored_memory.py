"""What a stored trace costs in memory: a tensor at a time, however large the trace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from trace_files import PEAK

WRITE_AND_READ = (
    PEAK
    + """
import json
import numpy as np
from parity.trace import Entry, Manifest, TraceWriter, read_trace, trace_hash

start, largest, total = peak(), 0, 0
writer = TraceWriter(Path(sys.argv[1]), Manifest("torch", sys.argv[2]))
for i, shape in enumerate(json.loads(sys.argv[3])):
    array = np.arange(i, i + np.prod(shape, dtype=int), dtype=sys.argv[2]).reshape(shape)
    largest, total = max(largest, array.nbytes), total + array.nbytes
    writer.add(Entry(f"forward/{i}", "m", "m.py:1", array))
del array
writer.close()
for i, entry in enumerate(read_trace(Path(sys.argv[1]))[1]):
    assert entry.array.flat[0] == i
trace_hash(Path(sys.argv[1]))
print(start, peak(), largest, total)
"""
)


def resnet50(batch: int, size: int) -> list[list[int]]:
    """Shapes of the outputs of ResNet-50's layers: convolutions, norms, activations, pooling."""
    half = size // 2
    shapes = [[batch, 64, half, half]] * 3 + [[batch, 64, half // 2, half // 2]]
    side = half // 2
    for stage, blocks in enumerate([3, 4, 6, 3]):
        width = 64 * 2**stage
        for block in range(blocks):
            before, side = side, side // 2 if stage and not block else side
            shapes += [[batch, width, before, before]] * 3 + [[batch, width, side, side]] * 3
            shapes += [[batch, 4 * width, side, side]] * (3 if block else 5)
    return [*shapes, [batch, 2048, 1, 1], [batch, 1000]]


def measured(folder: Path, dtype: str, shapes: list[list[int]]) -> tuple[int, int, int, int]:
    command = [sys.executable, "-c", WRITE_AND_READ, str(folder / "trace"), dtype, str(shapes)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    start, peak, largest, total = map(int, done.stdout.split())
    return start, peak, largest, total


def told(what: str, start: int, peak: int, largest: int, total: int) -> str:
    sizes = [f"{size / 2**20:.0f}" for size in (total, largest, peak, start)]
    return "{}: {} MiB, largest tensor {}; written and read back at a peak of {} ({} before)".format(what, *sizes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_layers_of_resnet50(tmp_path: Path, dtype: str, record_property: Callable[[str, object], None]) -> None:
    shapes = resnet50(2, 224)
    assert len(shapes) == 4 + 16 * 9 + 4 * 2 + 2
    start, peak, largest, total = measured(tmp_path, dtype, shapes)
    record_property("figures", told(f"trace of ResNet-50 in {dtype}", start, peak, largest, total))
    assert peak <= 1.3 * largest + 300 * 2**20
    # Beside the tensor itself, the one before it while it is read.
    assert peak - start <= 3 * largest + 20 * 2**20


@pytest.mark.slow
def test_a_trace_of_two_gigabytes(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    start, peak, largest, total = measured(tmp_path, "float32", [[2**24]] * 32)
    record_property("figures", told("trace", start, peak, largest, total))
    assert total == 2**31 and peak <= 300 * 2**20 + 2 * largest
