"""The manifest of a trace, ``manifest.json``: what it was made of and with, and what each of its tensors is.

Nothing in it is believed: every value has to be of its type and its size, every name one that may be printed and used
for a file, and no key may be missing or more than there is.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from detr_common.errors import InputError
from parity.foreign import Unreadable, check_weight, opened, read_json, shown
from parity.shards import Form
from weight_convert.atomic import replace

FORMAT = 1
FILE = "manifest.json"
AGAIN = "record the trace again"
MAX_BYTES = 32 << 20
MAX_NAME = 1000
MAX_TEXT = 100_000
MAX_DEPTH = 20

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Record:
    """What the manifest tells of a tensor; see ``parity.trace.Entry``.

    Attributes:
        name: of the entry.
        owner: of the entry.
        source: of the entry.
        caller: of the entry.
        inputs: of the entry.
        shape: sizes.
        dtype: NumPy's name.
        sha256: of the bytes, in hexadecimal digits.
        shard: number of the file.
    """

    name: str
    owner: str
    source: str
    caller: str
    inputs: str
    shape: list[int]
    dtype: str
    sha256: str
    shard: int

    def __post_init__(self) -> None:
        """Refuse what no recording gives.

        Raises:
            Unreadable: a value is not of its type, or of no use.
        """
        _check_name(self.name)
        for text in (self.owner, self.source, self.caller, self.inputs):
            _check_text(text)
        if type(self.shape) is not list:
            raise Unreadable("its shape is not one")
        if type(self.sha256) is not str or len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise Unreadable("its sha256 is not one")
        if type(self.shard) is not int:
            raise Unreadable("its shard is not a number")
        _ = self.form

    @property
    def form(self) -> Form:
        """Dtype and shape.

        Raises:
            Unreadable: no tensor can be of them.
        """
        return Form(self.dtype, tuple(self.shape))


def load(directory: Path, kind: type[Kind]) -> tuple[Kind, list[Record]]:
    """Read the manifest of a trace.

    Args:
        directory: the trace.
        kind: the dataclass of what is not about one tensor (``check``).

    Raises:
        InputError: it is missing, damaged, or not what a recording writes.
    """
    path = directory / FILE
    with refused(path, "damaged"):
        try:
            with opened(path) as descriptor:
                size = os.fstat(descriptor).st_size
                if size > MAX_BYTES:
                    raise Unreadable(f"larger than {MAX_BYTES:,} bytes")
                content = read_json(descriptor, 0, size)
        except FileNotFoundError:
            raise InputError(f"{directory}: not a trace (no {FILE}); {AGAIN}") from None
        if type(content) is not dict:
            raise Unreadable("not an object")
        if type(content.get("format")) is int and content["format"] != FORMAT:
            raise InputError(f"{path}: written in another format than {FORMAT}; {AGAIN}")
        _check_keys(content, {"format", "entries", *(field.name for field in fields(kind))})  # type: ignore[arg-type]
        if type(content.pop("format")) is not int:
            raise Unreadable("its format is not a number")
        entries = content.pop("entries")
        if type(entries) is not list:
            raise Unreadable("its entries are not a list")
        manifest = kind(**content)
        check(manifest)
    return manifest, _records(path, entries)


def save(directory: Path, manifest: object, records: Sequence[Record]) -> None:
    """Write the manifest of a trace, whole or not at all.

    Raises:
        InputError: it cannot be written, or would be larger than one may be.
    """
    path = directory / FILE
    content = {"format": FORMAT, **asdict(manifest), "entries": [*map(asdict, records)]}  # type: ignore[call-overload]
    text = json.dumps(content, indent=1).encode()
    with refused(path, "cannot be written", "record less of it"):
        check_weight(text)
        if len(text) > MAX_BYTES:
            raise Unreadable(f"larger than {MAX_BYTES:,} bytes")

    def fill(file: BinaryIO) -> None:
        file.write(text)

    with written(path):
        replace(path, fill)


def check(manifest: object) -> None:
    """Check the fields of a dataclass, each of one of the types in ``_FORMS``.

    Raises:
        Unreadable: one is not of its type, or cannot be printed.
    """
    for field in fields(manifest):  # type: ignore[arg-type]
        try:
            _FORMS[str(field.type)](getattr(manifest, field.name))
        except Unreadable as error:
            raise Unreadable(f"{field.name}: {error}") from None


@contextlib.contextmanager
def refused(path: Path, what: str, advice: str = AGAIN) -> Iterator[None]:
    """Say of which file, and what to do, where it is unreadable."""
    try:
        yield
    except Unreadable as error:
        raise InputError(f"{path}: {what} ({error}); {advice}") from None


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Say of which file, and what to do, where it cannot be written."""
    try:
        yield
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise InputError(f"{path}: cannot be written ({why}); free the disk, or name another folder") from error


def _records(path: Path, entries: list[Any]) -> list[Record]:
    """The records of a manifest, whose shards are numbered in the order in which they come."""
    keys = {field.name for field in fields(Record)}
    records: list[Record] = []
    names: set[str] = set()
    for index, entry in enumerate(entries):
        with refused(path, f"damaged in entry {index}{_named(entry)}"):
            if type(entry) is not dict:
                raise Unreadable("not an object")
            _check_keys(entry, keys)
            record = Record(**entry)
            if record.name in names:
                raise Unreadable("an earlier one has its name")
            if record.shard not in ((records[-1].shard, records[-1].shard + 1) if records else (0,)):
                raise Unreadable(f"its shard {shown(record.shard)} is not the one due")
        records.append(record)
        names.add(record.name)
    return records


def _named(entry: object) -> str:
    return f", {shown(entry['name'])}" if isinstance(entry, dict) and "name" in entry else ""


def _check_keys(found: dict[str, Any], due: set[str]) -> None:
    lacking, extra = sorted(due - found.keys()), [key for key in found if key not in due]
    if lacking:
        raise Unreadable(f"it lacks {lacking[0]}")
    if extra:
        raise Unreadable(f"{shown(extra[0])} does not belong there")


def _check_name(name: object) -> None:
    _check_text(name)
    if len(str(name)) > MAX_NAME:
        raise Unreadable(f"a name of more than {MAX_NAME} characters")
    if "\\" in str(name) or {"", ".", ".."} & {*str(name).split("/")}:
        raise Unreadable("a name that as a path would lead elsewhere")


def _check_text(text: object) -> None:
    if type(text) is not str:
        raise Unreadable(f"{shown(text)} where text is due")
    if len(text) > MAX_TEXT:
        raise Unreadable(f"text of more than {MAX_TEXT:,} characters")
    if not text.isprintable():
        raise Unreadable(f"text with characters that cannot be printed, {shown(text)}")


def _check_texts(values: object) -> None:
    if type(values) is not list:
        raise Unreadable("not a list")
    for value in values:
        _check_text(value)


def _check_labels(values: object) -> None:
    if type(values) is not dict:
        raise Unreadable("not an object")
    _check_texts([*values, *values.values()])


def _check_object(values: object) -> None:
    if type(values) is not dict:
        raise Unreadable("not an object")
    _check_data(values, MAX_DEPTH)


def _check_data(value: object, depth: int) -> None:
    if depth < 0:
        raise Unreadable("nested too deep")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        _check_texts([*value])
        for part in value.values():
            _check_data(part, depth - 1)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _check_data(part, depth - 1)
    elif value is not None and not isinstance(value, (bool, int, float)):
        raise Unreadable(f"a {type(value).__name__}, which JSON cannot hold")


_FORMS: dict[str, Callable[[object], None]] = {
    "str": _check_text,
    "list[str]": _check_texts,
    "dict[str, str]": _check_labels,
    "dict[str, Any]": _check_object,
}
