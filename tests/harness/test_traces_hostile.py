"""Traces that are damaged or made to do harm: each is refused in words, at once, and nothing else is opened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trace_files import Content, content_of, opened_files, put, record, refusal

from detr_common.errors import InputError
from parity.trace import Entry, read_manifest, read_trace, trace_hash


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return record(tmp_path / "trace")


def read_all(folder: Path) -> list[Entry]:
    return list(read_trace(folder)[1])


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "damaged", id="empty"),
        pytest.param("{", "damaged", id="cut off"),
        pytest.param("null", "not an object", id="null"),
        pytest.param("[]", "not an object", id="list"),
        pytest.param(DEEP, "nested too deep", id="deep"),
        pytest.param('{"a":' * 50_000 + "1" + "}" * 50_000, "nested too deep", id="deep objects"),
        pytest.param("\xff\xfe{}", "damaged", id="no UTF-8"),
        pytest.param("[" + "[]," * 1_000_001 + "1]", "more than 1,000,000 values", id="many lists"),
        pytest.param("1" * 5_000_000, "too many digits", id="endless number"),
        pytest.param("1." + "1" * 5_000_000, "too many digits", id="endless fraction"),
        pytest.param('{"format": 1, "format": 1}', "there twice", id="a key twice"),
    ],
)
def test_manifests_that_are_none(trace: Path, text: str, why: str) -> None:
    (trace / "manifest.json").write_bytes(text.encode("latin-1"))
    said = refusal(trace)
    assert said.startswith("/manifest.json: damaged (") and why in said


def test_a_huge_manifest_is_not_read(trace: Path) -> None:
    with (trace / "manifest.json").open("r+b") as file:
        file.truncate(2**43)
    assert "larger than 33,554,432 bytes" in refusal(trace)


Edit = Callable[[Content], Any]


def of_entry(key: str, value: Any) -> Edit:
    return lambda content: content["entries"][1].update({key: value})


def of_whole(key: str, value: Any) -> Edit:
    return lambda content: content.update({key: value})


VALUES = [0, -1, 1.5, float("nan"), True, None, [], {}, [1], "x", 10**39, [[1]], {"a": 1}]
LABELS = ["name", "owner", "source", "caller", "inputs"]
# What of these a key may hold.
RIGHT: dict[str, list[Any]] = {
    **{key: ["x"] for key in [*LABELS, "framework", "dtype of all"]},
    "shard": [0],
    "modules": [[]],
    "environment": [{}],
    "inputs of all": [{}, {"a": 1}],
}


def wrong(*keys: str) -> list[Any]:
    """Every key with every value that it may not hold."""
    pairs = [(key, value) for key in keys for value in VALUES]
    return [
        pytest.param(key.split()[0], value, id=f"{key} {value!r}")
        for key, value in pairs
        if not any(type(value) is type(right) and value == right for right in RIGHT.get(key, ()))
    ]


@pytest.mark.parametrize(("key", "value"), wrong(*LABELS, "shape", "dtype", "sha256", "shard"))
def test_values_of_a_wrong_type_in_an_entry(trace: Path, key: str, value: Any) -> None:
    put(trace, content_of(trace), of_entry(key, value))
    said = refusal(trace)
    assert said.startswith(("/manifest.json: damaged in entry 1, ", "/shard-00000.safetensors: cannot read forward/b "))


@pytest.mark.parametrize(
    ("key", "value"),
    wrong("format", "entries", "framework", "dtype of all", "modules", "environment", "inputs of all"),
)
def test_values_of_a_wrong_type_in_the_manifest(trace: Path, key: str, value: Any) -> None:
    put(trace, content_of(trace), of_whole(key, value))
    said = refusal(trace)
    assert said.startswith(("/manifest.json: damaged", "/manifest.json: written in another format", "/shard-00000"))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_entries_that_are_none(trace: Path, value: Any) -> None:
    put(trace, content_of(trace), lambda content: content["entries"].__setitem__(1, value))
    assert refusal(trace).startswith("/manifest.json: damaged in entry 1 (")


SHAPE = "the manifest gives another dtype or shape than the shard"


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        pytest.param(of_entry("shape", [3, -2]), "its shape is not one", id="negative size"),
        pytest.param(of_entry("shape", [2**62]), "larger than 4 GiB", id="absurd size"),
        pytest.param(of_entry("shape", [0, 2**62, 2**62]), "larger than 4 GiB", id="absurd size of nothing"),
        pytest.param(of_entry("shape", [10**39]), "larger than 4 GiB", id="more than 64 bits"),
        pytest.param(of_entry("shape", [1] * 33), "its shape is not one", id="33 dimensions"),
        pytest.param(of_entry("shape", [1] * 900_000), "its shape is not one", id="many dimensions"),
        pytest.param(of_entry("shape", [2, True]), "its shape is not one", id="true as a size"),
        pytest.param(of_entry("shape", [6]), SHAPE, id="another shape"),
        pytest.param(of_entry("shape", [3, 2]), SHAPE, id="transposed"),
        pytest.param(of_entry("dtype", "int32"), SHAPE, id="another dtype"),
        pytest.param(of_entry("dtype", "object"), "its dtype 'object' is not one", id="objects"),
        pytest.param(of_entry("dtype", "float32,float32"), "its dtype", id="fields"),
        pytest.param(of_entry("dtype", "\x1b[2J"), r"its dtype '\x1b[2J'", id="control characters as dtype"),
        pytest.param(of_entry("sha256", "0" * 63), "its sha256 is not one", id="short hash"),
        pytest.param(of_entry("sha256", "Z" * 64), "its sha256 is not one", id="no digits"),
        pytest.param(of_entry("sha256", "0" * 64), "wrong hash", id="wrong hash"),
        pytest.param(of_entry("shard", -1), "its shard -1 is not the one due", id="negative shard"),
        pytest.param(of_entry("shard", 10**30), "is not the one due", id="huge shard"),
        pytest.param(of_entry("shard", 2), "its shard 2 is not the one due", id="shard left out"),
        pytest.param(of_entry("shard", 1), "it holds '1', which no entry", id="shard of another"),
        pytest.param(of_entry("shard", "../x"), "its shard is not a number", id="shard that is a path"),
        pytest.param(of_entry("name", "forward/a"), "an earlier one has its name", id="name twice"),
        pytest.param(of_entry("name", ""), "would lead elsewhere", id="no name"),
        pytest.param(of_entry("name", "/etc/passwd"), "would lead elsewhere", id="absolute"),
        pytest.param(of_entry("name", "forward/../../x"), "would lead elsewhere", id="traversal"),
        pytest.param(of_entry("name", "forward\\..\\x"), "would lead elsewhere", id="backslashes"),
        pytest.param(of_entry("name", "a\0b"), r"cannot be printed, 'a\x00b'", id="NUL"),
        pytest.param(of_entry("name", "a\x1b[2Jb"), r"cannot be printed, 'a\x1b[2Jb'", id="escape"),
        pytest.param(of_entry("name", "a\u202eb"), r"cannot be printed, 'a\u202eb'", id="backwards"),
        pytest.param(of_entry("name", "a\ud800"), "cannot be printed", id="half a character"),
        pytest.param(of_entry("name", "x" * 1001), "more than 1000 characters", id="long"),
        pytest.param(of_entry("name", "x" * 10**7), "characters", id="very long"),
        pytest.param(of_entry("inputs", "x" * 100_001), "more than 100,000 characters", id="long inputs"),
        pytest.param(of_entry("owner", "a\nb"), "cannot be printed", id="line break"),
        pytest.param(of_entry("extra", 1), "'extra' does not belong there", id="surplus key"),
        pytest.param(lambda c: c["entries"][1].pop("owner"), "it lacks owner", id="missing key"),
        pytest.param(of_whole("more", 1), "'more' does not belong there", id="surplus key of all"),
        pytest.param(of_whole("\x1b[2J", 1), r"'\x1b[2J' does not belong there", id="surplus key that controls"),
        pytest.param(lambda c: c.pop("modules"), "it lacks modules", id="missing key of all"),
        pytest.param(lambda c: c.pop("format"), "it lacks format", id="no format"),
        pytest.param(of_whole("format", 2), "another format", id="another format"),
        pytest.param(of_whole("modules", ["a\x07"]), "modules: text with characters", id="module that rings"),
        pytest.param(of_whole("environment", {"torch": "\x1b"}), "environment: text with", id="version that controls"),
        pytest.param(of_whole("environment", {"\x1b": "2"}), "environment: text with", id="key that controls"),
        pytest.param(of_whole("inputs", {"a": [{"b": "\x1b"}]}), "inputs: text with", id="inputs that control"),
        pytest.param(of_whole("inputs", {"a": json.loads("[" * 30 + "]" * 30)}), "nested too deep", id="deep inputs"),
        pytest.param(lambda c: c["entries"].pop(), "it holds '5', which no entry", id="last entry gone"),
        pytest.param(lambda c: c["entries"].pop(0), "it holds '1', which no entry", id="first entry gone"),
        pytest.param(lambda c: c["entries"].__delitem__(slice(3, None)), "no entry of the", id="shard gone"),
        pytest.param(lambda c: c["entries"].clear(), "no entry of the manifest is in it", id="all gone"),
        pytest.param(lambda c: c["entries"].append({**c["entries"][-1], "name": "z"}), "not there", id="one too many"),
        pytest.param(lambda c: c["entries"].reverse(), "is not the one due", id="in another order"),
    ],
)
def test_edited_manifests(trace: Path, edit: Edit, why: str) -> None:
    put(trace, content_of(trace), edit)
    assert why in refusal(trace)


def fifo(path: Path, _: Path) -> None:
    os.mkfifo(path)


def link_away(path: Path, away: Path) -> None:
    path.symlink_to(away)


def link_inside(path: Path, _: Path) -> None:
    (path.parent / "inside").write_bytes(b"")
    path.symlink_to("inside")


def link_nowhere(path: Path, _: Path) -> None:
    path.symlink_to("/nonexistent/file")


def link_to_device(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path, _: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("name", ["manifest.json", "shard-00000.safetensors", "shard-00001.safetensors"])
@pytest.mark.parametrize("kind", [fifo, folder, link_away, link_inside, link_nowhere, link_to_device])
def test_what_is_no_file(trace: Path, kind: Callable[[Path, Path], None], name: str) -> None:
    away = trace.parent / "away"
    os.replace(trace / name, away)
    kind(trace / name, away)
    assert f"/{name}: " in refusal(trace) and "not a plain file" in refusal(trace)


def test_a_missing_shard_and_one_too_many(trace: Path) -> None:
    os.replace(trace / "shard-00001.safetensors", trace / "shard-00003.safetensors")
    assert "/shard-00003.safetensors: no entry of the manifest is in it" in refusal(trace)
    (trace / "shard-00003.safetensors").unlink()
    assert "/shard-00001.safetensors: cannot read forward/c[x/y] (no such file)" in refusal(trace)
    (trace / "shard-00003.safetensors").symlink_to("nowhere")
    assert "/shard-00003.safetensors: no entry of the manifest is in it" in refusal(trace)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "nowhere"):
        for read in (read_trace, read_manifest, trace_hash):
            with pytest.raises(InputError, match=rf"^{path}"):
                read(path)


def test_nothing_else_is_opened_and_all_is_closed(trace: Path) -> None:
    descriptors = set(os.listdir("/proc/self/fd"))
    with opened_files() as paths:
        read_all(trace)
    opened = [*dict.fromkeys(Path(path).name for path in paths)]
    assert opened == ["manifest.json", *sorted(p.name for p in trace.glob("shard-*"))]
    stream = read_trace(trace)[1]
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert set(os.listdir("/proc/self/fd")) == descriptors
