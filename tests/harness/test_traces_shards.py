"""Shards that are damaged or made to do harm; see ``test_traces_hostile.py``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trace_files import record, refusal

from detr_common.errors import InputError
from parity.trace import read_trace

DEEP = "[" * 100_000 + "]" * 100_000


SHAPE = "the manifest gives another dtype or shape than the shard"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return record(tmp_path / "trace")


def test_a_damaged_value_is_named(trace: Path) -> None:
    path = trace / "shard-00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "wrong hash" in refusal(trace) and "forward/b is not what was recorded" in refusal(trace)


def edited_header(trace: Path, edit: Callable[[dict[str, Any]], Any], tail: bytes = b"") -> None:
    path = trace / "shard-00000.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :] + tail)


@pytest.mark.parametrize(
    ("edit", "tail", "why"),
    [
        pytest.param(lambda h: h.pop("1"), b"", "forward/b (the tensor is not there)", id="entry missing"),
        pytest.param(lambda h: h.update({"9": h["1"]}), b"", "it holds '9', which no entry", id="surplus"),
        pytest.param(lambda h: h.update(__metadata__={"a": "b"}), b"", "'__metadata__', which no entry", id="metadata"),
        pytest.param(lambda h: None, b"\0", "something follows its last tensor", id="surplus bytes"),
        pytest.param(lambda h: h["1"].update(shape=[2**50]), b"", f"forward/b ({SHAPE})", id="shape"),
        pytest.param(lambda h: h["1"].update(dtype="F64"), b"", f"forward/b ({SHAPE})", id="dtype"),
        pytest.param(lambda h: h["1"].update(dtype=[]), b"", f"forward/b ({SHAPE})", id="no dtype"),
        pytest.param(lambda h: h["1"].pop("shape"), b"", "the header is damaged", id="no shape"),
        pytest.param(lambda h: h.update({"1": 5}), b"", "the header is damaged", id="a number"),
        pytest.param(lambda h: h["1"].update(data_offsets=[0, 24]), b"", "a wrong place", id="overlap"),
        pytest.param(lambda h: h["1"].update(data_offsets=[2**70, 2**71]), b"", "a wrong place", id="far away"),
        pytest.param(lambda h: h["1"].update(data_offsets=[-24, 0]), b"", "a wrong place", id="before"),
        pytest.param(lambda h: h["1"].update(data_offsets=["a", 1]), b"", "a wrong place", id="text as offset"),
        pytest.param(lambda h: h["1"].update(data_offsets=7), b"", "a wrong place", id="a number as offsets"),
    ],
)
def test_edited_shards(trace: Path, edit: Callable[[dict[str, Any]], Any], tail: bytes, why: str) -> None:
    edited_header(trace, edit, tail)
    said = refusal(trace)
    assert said.startswith("/shard-00000.safetensors: cannot read forward/") and why in said


@pytest.mark.parametrize("size", [0, 7, 8, 100, 2**16, 2**16 + 30])
def test_cut_shards(trace: Path, size: int) -> None:
    os.truncate(trace / "shard-00000.safetensors", size)
    assert "/shard-00000.safetensors: cannot read forward/a (" in refusal(trace)


@pytest.mark.parametrize(
    "head",
    [
        (2**63).to_bytes(8, "little"),
        b"\xff" * 8,
        (2**30).to_bytes(8, "little"),
        (4).to_bytes(8, "little") + b"nope",
        (2).to_bytes(8, "little") + b"[]",
        len(DEEP).to_bytes(8, "little") + DEEP.encode(),
    ],
)
def test_headers_that_are_none(trace: Path, head: bytes) -> None:
    path = trace / "shard-00000.safetensors"
    path.write_bytes(head + path.read_bytes()[8:])
    os.truncate(path, 2**31)
    assert "/shard-00000.safetensors: cannot read forward/a (" in refusal(trace)


def test_a_shard_that_is_cut_off_while_it_is_read(trace: Path) -> None:
    stream = read_trace(trace)[1]
    next(stream)
    os.truncate(trace / "shard-00000.safetensors", 2**16)
    with pytest.raises(InputError, match=r"cannot read forward/b \(it is cut off\)"):
        next(stream)
