from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detr_common.errors import InputError
from parity.ahead import ReadAhead
from parity.trace import Entry, Manifest, TraceWriter, read_trace
from parity.wire import Disconnected, receive, send


@pytest.mark.parametrize("dtype", ["float64", "float32", "bool", "int64", "int32", "uint8"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (200, 301)])
def test_arrays_cross_the_wire_unchanged(dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(int(np.prod(shape))).reshape(shape) % 2).astype(dtype)
    read, write = os.pipe()
    if os.fork() == 0:
        with os.fdopen(write, "wb", buffering=0) as stream:
            send(stream, {"kind": "entry", "name": "forward/é"}, array)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as stream:
        header, received = receive(stream)
        with pytest.raises(Disconnected):
            receive(stream)
    os.wait()
    assert header["name"] == "forward/é" and received is not None
    assert received.dtype == array.dtype and received.shape == array.shape
    np.testing.assert_array_equal(received, array)


def entries(count: int) -> Iterator[Entry]:
    for i in range(count):
        yield Entry(f"forward/{i}", f"m{i}", "m.py:1", np.full(1000, i, dtype=np.float32), "root", "0 = x")


def size(entry: Entry) -> int:
    return entry.array.nbytes


def test_reading_ahead_keeps_order_and_stays_in_its_budget() -> None:
    read = 0

    def stream() -> Iterator[Entry]:
        nonlocal read
        for entry in entries(50):
            read += 1
            yield entry

    ahead = ReadAhead(stream(), size, 8000)
    time.sleep(0.2)
    assert 2 <= read <= 4
    assert [entry.name for entry in ahead] == [f"forward/{i}" for i in range(50)]


def test_reading_ahead_hands_on_an_error_where_it_happened() -> None:
    def stream() -> Iterator[Entry]:
        yield from entries(2)
        raise InputError("broken")

    ahead = ReadAhead(stream(), size, 8000)
    assert [next(ahead).name, next(ahead).name] == ["forward/0", "forward/1"]
    with pytest.raises(InputError, match="broken"):
        next(ahead)


def test_reading_ahead_ends_with_its_block() -> None:
    threads = set(threading.enumerate())
    with ReadAhead(iter(entries(50)), size, 8000) as ahead:
        assert next(ahead).name == "forward/0"
        assert set(threading.enumerate()) - threads
    assert not set(threading.enumerate()) - threads
    with pytest.raises(Exception, match=r"^$"):
        next(ahead)  # which is not the end of the stream


def written(folder: Path) -> Path:
    writer = TraceWriter(folder / "trace", Manifest("torch", "float32", ["m0"], {"torch": "2"}))
    for entry in [*entries(5), Entry("forward/empty", "m", "m.py:1", np.zeros((0, 3)))]:
        writer.add(entry)
    writer.close()
    return folder / "trace"


def test_a_trace_comes_back_from_disk(tmp_path: Path) -> None:
    manifest, read = read_trace(written(tmp_path))
    assert (manifest.framework, manifest.dtype, manifest.modules) == ("torch", "float32", ["m0"])
    for got, expected in zip(read, [*entries(5)], strict=False):
        assert (got.name, got.owner, got.source, got.caller, got.inputs) == (
            expected.name,
            expected.owner,
            expected.source,
            expected.caller,
            expected.inputs,
        )
        np.testing.assert_array_equal(got.array, expected.array)


def test_a_used_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        TraceWriter(tmp_path, Manifest("torch", "float32"))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_without_manifest_a_damaged_one_and_changed_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a trace"):
        read_trace(tmp_path)
    trace = written(tmp_path)
    shard = trace / "shard-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputError, match="wrong hash"):
        list(read_trace(trace)[1])
    shard.write_bytes(data[:100])
    with pytest.raises(InputError, match="cannot read"):
        list(read_trace(trace)[1])
    manifest = trace / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(InputError, match="another format"):
        read_trace(trace)
    manifest.write_text(manifest.read_text()[:50])
    with pytest.raises(InputError, match="damaged"):
        read_trace(trace)
