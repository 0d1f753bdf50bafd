"""Traces as they are written: what comes back, what is refused, and what they cost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from trace_files import ARRAYS, content_of, put, record

from detr_common.errors import InputError
from parity import trace as traces
from parity.trace import Entry, Manifest, TraceWriter, read_manifest, read_trace, trace_hash


def read_all(folder: Path) -> list[Entry]:
    return list(read_trace(folder)[1])


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return record(tmp_path / "trace")


def test_a_trace_comes_back_and_the_library_reads_its_shards(trace: Path) -> None:
    for entry, (name, array) in zip(read_all(trace), ARRAYS.items(), strict=True):
        assert entry.name == name and entry.array.dtype == array.dtype and entry.array.shape == array.shape
        assert entry.array.tobytes() == array.tobytes() and entry.array.flags.writeable
    stored = {key: value for path in sorted(trace.glob("shard-*")) for key, value in load_file(path).items()}
    assert [stored[str(i)].tobytes() for i in range(len(stored))] == [array.tobytes() for array in ARRAYS.values()]
    assert read_manifest(trace) == read_trace(trace)[0]


def test_shards_of_the_library_are_read(trace: Path) -> None:
    for path in trace.glob("shard-*"):
        save_file(load_file(path), path)
    assert [entry.array.tobytes() for entry in read_all(trace)] == [array.tobytes() for array in ARRAYS.values()]


def of_entry(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["entries"][1].update({key: value})


def test_the_hash_tells_traces_apart(trace: Path, tmp_path: Path) -> None:
    digest = trace_hash(trace)
    assert len(digest) == 64 and digest == trace_hash(record(tmp_path / "again", Manifest("jittor", "float32")))
    for edit in (
        of_entry("name", "forward/B"),
        of_entry("shape", [6]),
        of_entry("dtype", "int32"),
        of_entry("sha256", "0" * 64),
        lambda content: content["entries"].pop(),
        lambda content: content["entries"].insert(0, content["entries"].pop(1)),
    ):
        content = content_of(record(tmp_path / f"other{edit}"))
        put(tmp_path / f"other{edit}", content, edit)
        assert trace_hash(tmp_path / f"other{edit}") != digest
    for path in trace.glob("shard-*"):
        path.unlink()
    assert trace_hash(trace) == digest, "tensors are not read"
    put(trace, content_of(trace), of_entry("owner", "someone"))
    assert trace_hash(trace) == digest, "only what was computed counts"


def test_a_large_tensor_has_a_shard_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "SHARD_BYTES", 1000)
    writer = TraceWriter(tmp_path / "trace", Manifest("torch", "float32"))
    for i, size in enumerate([10, 10, 2000, 10, 990, 1, 1000, 999]):
        writer.add(Entry(str(i), "m", "m.py:1", np.full(size, i, np.uint8)))
    writer.close()
    shards = [entry["shard"] for entry in content_of(tmp_path / "trace")["entries"]]
    assert shards == [0, 0, 1, 2, 2, 3, 4, 5]
    assert [entry.array.sum() for entry in read_all(tmp_path / "trace")] == [0, 10, 4000, 30, 3960, 5, 6000, 6993]


def test_many_small_tensors_fill_the_headers_of_several_shards(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "trace", Manifest("torch", "float32"))
    for i in range(2000):
        writer.add(Entry(f"forward/{i}", "m", "m.py:1", np.array(i)))
    writer.close()
    assert [int(entry.array) for entry in read_all(tmp_path / "trace")] == [*range(2000)]
    assert len(list((tmp_path / "trace").glob("shard-*"))) == 3


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (Entry("forward/a", "m", "m.py:1", np.zeros(1)), "an earlier one has its name"),
        (Entry("a\nb", "m", "m.py:1", np.zeros(1)), "cannot be printed"),
        (Entry("../a", "m", "m.py:1", np.zeros(1)), "lead elsewhere"),
        (Entry("a", "m", "m.py:1", np.zeros(1, dtype=object)), "its dtype 'object'"),
        (Entry("a", "m", "m.py:1", np.broadcast_to(np.uint8(0), (2**33,))[:0].reshape(0, 2**33)), "larger than"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, entry: Entry, why: str) -> None:
    writer = TraceWriter(tmp_path / "trace", Manifest("torch", "float32"))
    writer.add(Entry("forward/a", "m", "m.py:1", np.zeros(3, ">f4")))
    with pytest.raises(InputError, match=why):
        writer.add(entry)
    writer.add(Entry("b", "m", "m.py:1", np.zeros((2, 3)).T))
    writer.close()
    assert [entry.array.shape for entry in read_all(tmp_path / "trace")] == [(3,), (3, 2)]
    with pytest.raises(InputError, match=r"environment: text with .*name it otherwise"):
        TraceWriter(tmp_path / "other", Manifest("torch", "float32", environment={"a": "b\nc"}))
    with pytest.raises(InputError, match=r"inputs: a PosixPath, which JSON cannot hold"):
        TraceWriter(tmp_path / "other", Manifest("torch", "float32", inputs={"a": [tmp_path]}))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "trace"):
        with pytest.raises(InputError, match=r"cannot be written \(not a directory\)"):
            TraceWriter(path, Manifest("torch", "float32"))


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from parity.trace import Entry, Manifest, TraceWriter
writer = TraceWriter(Path(sys.argv[1]), Manifest("torch", "float32"))
writer.add(Entry("a", "m", "m.py:1", np.zeros(1000)))
if sys.argv[2] == "add":
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
    writer.add(Entry("b", "m", "m.py:1", np.zeros(100_000)))
writer.add(Entry("c", "m" * 90_000, "m.py:1", np.zeros(1000)))
resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
writer.close()
"""


@pytest.mark.parametrize(("step", "name"), [("add", "shard-00000.safetensors"), ("close", "manifest.json")])
def test_a_full_disk_is_said(tmp_path: Path, step: str, name: str) -> None:
    """A limit on the size of files gives the same error from the same call, another number."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "trace"), step], capture_output=True, text=True, timeout=60
    )
    said = done.stderr.strip().splitlines()[-1]
    assert f"InputError: {tmp_path}/trace/{name}: cannot be written (file too large); free the disk" in said
    with pytest.raises(InputError, match=r"not a trace"):
        read_trace(tmp_path / "trace")
    assert not [path.name for path in (tmp_path / "trace").iterdir() if not path.name.startswith("shard-")]


def test_a_manifest_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    writer = TraceWriter(tmp_path / "trace", Manifest("torch", "float32"))
    writer.add(Entry("a", "m", "m.py:1", np.zeros(10)))
    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(InputError, match=r"manifest.json: cannot be written \(no space left on device\)"):
        writer.close()
    assert [path.name for path in (tmp_path / "trace").iterdir()] == ["shard-00000.safetensors"]
