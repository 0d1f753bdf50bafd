"""A trace with bytes or values changed at random: it is refused, or gives the very same arrays."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_files import ARRAYS, Content, content_of, record

from detr_common.errors import InputError
from parity.trace import read_manifest, read_trace, trace_hash

SETTINGS = settings(max_examples=200, deadline=None, derandomize=True)
FILES = ["manifest.json", "shard-00000.safetensors", "shard-00001.safetensors", "shard-00002.safetensors"]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 1, 2, 2**31, 2**63, 10**50])
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["float64", "bool", "../x", "forward/a", "a" * 2000, "\x1b[2J", "0" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield record(Path(folder) / "trace")


def assert_refused_or_same(folder: Path) -> None:
    for read in (read_manifest, trace_hash):
        try:
            read(folder)
        except InputError as error:
            assert str(error).startswith(str(folder)) and str(error).isprintable()
    try:
        found = [entry.array for entry in read_trace(folder)[1]]
    except InputError as error:
        assert str(error).startswith(str(folder)) and str(error).isprintable()
        return
    for array, expected in zip(found, ARRAYS.values(), strict=True):
        assert array.dtype == expected.dtype and array.shape == expected.shape
        assert array.tobytes() == expected.tobytes()


@st.composite
def mutations(draw: st.DrawFn, size: int) -> list[tuple[str, int, int, bytes]]:
    """Edits of a file: what is done, where, to how many bytes, and with which."""
    kinds = st.sampled_from(["flip", "put", "insert", "remove", "repeat", "cut"])
    # Headers and the JSON text are where most of the meaning is.
    places = st.integers(0, size) | st.integers(0, min(size, 300)) | st.integers(max(0, size - 300), size)
    amounts = st.integers(1, 4) | st.integers(1, 200)
    texts = st.binary(min_size=1, max_size=8) | st.sampled_from(
        [b"\0", b"{", b"[", b'"', b"-", b"9" * 30, b"1e9", b"NaN", b"null", b"../", b"\\u001b", b"F64", b"float64"]
    )
    return draw(st.lists(st.tuples(kinds, places, amounts, texts), min_size=1, max_size=3))


def mutated(data: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, at, amount, text in edits:
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << amount % 8]) + data[at + 1 :]
        elif kind == "put":
            data = data[:at] + text + data[at + len(text) :]
        elif kind == "insert":
            data = data[:at] + text + data[at:]
        elif kind == "remove":
            data = data[:at] + data[at + amount :]
        elif kind == "repeat":
            data = data[:at] + data[at : at + amount] + data[at:]
        elif kind == "cut":
            data = data[:at]
    return data


@pytest.mark.parametrize("name", FILES)
def test_changed_bytes(base: Path, name: str) -> None:
    path = base / name
    original = path.read_bytes()

    @SETTINGS
    @given(mutations(len(original)))
    def check(edits: list[tuple[str, int, int, bytes]]) -> None:
        path.write_bytes(mutated(original, edits))
        assert_refused_or_same(base)

    try:
        check()
    finally:
        path.write_bytes(original)


def places_in(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside another."""
    if at:
        yield at
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places_in(part, (*at, key))


@st.composite
def edited(draw: st.DrawFn, content: Content) -> Content:
    """The manifest with a value put in the place of another, taken away, repeated or exchanged with another."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.sampled_from(list(places_in(content))))
        holder: Any = content
        for key in at[:-1]:
            holder = holder[key]
        kind = draw(st.sampled_from(["put", "put", "take", "exchange", "repeat"]))
        if kind == "put":
            holder[at[-1]] = draw(json_values)
        elif kind == "take":
            del holder[at[-1]]
        elif kind == "exchange":
            other = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else list(range(len(holder)))))
            holder[at[-1]], holder[other] = holder[other], holder[at[-1]]
        elif isinstance(holder, list):
            holder.insert(at[-1], copy.deepcopy(holder[at[-1]]))
        else:
            holder[str(at[-1]) + draw(st.sampled_from(["", "x", "\x1b"]))] = holder[at[-1]]
        if not content:
            break
    return content


def test_changed_values_of_the_manifest(base: Path) -> None:
    path = base / "manifest.json"
    original = path.read_bytes()

    @SETTINGS
    @given(edited(content_of(base)))
    def check(content: Content) -> None:
        path.write_text(json.dumps(content))
        assert_refused_or_same(base)

    try:
        check()
    finally:
        path.write_bytes(original)
