"""Traces: every tensor that crossed a module boundary, in the order in which it came to be.

On disk a trace is a folder of safetensors shards and a ``manifest.json`` with names, shapes, dtypes, sources, hashes
and the environment that made it, so that two frameworks can be recorded apart and compared later. It may come from
anybody: what is not exactly a trace is refused, and nothing outside the folder is touched.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detr_common.errors import InputError
from parity import manifest as manifests
from parity.foreign import Unreadable, opened, shown
from parity.manifest import AGAIN, FORMAT, Record
from parity.shards import Form, ShardWriter, bytes_of, places, read_tensor

__all__ = [
    "FORMAT",
    "SHARD_BYTES",
    "Array",
    "Entry",
    "Manifest",
    "TraceWriter",
    "read_manifest",
    "read_trace",
    "trace_hash",
]

Array = npt.NDArray[Any]

# No shard is larger, but where a single tensor is.
SHARD_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Entry:
    """One tensor of a trace.

    Attributes:
        name: ``forward/MODULE`` for an output, ``forward/MODULE(ARGUMENT)`` for an input that the caller computed
            itself; ``[KEY]`` for a part of a structure and ``#K`` for the K-th further call.
        owner: the module whose code computed the tensor.
        source: file and line of that code.
        array: the values.
        caller: the module that called the owner; empty where the owner was called by nobody.
        inputs: what the owner was fed, as names of earlier tensors.
        repeats: name of a recent entry that is the very same tensor, which a module only passed on; else empty.
    """

    name: str
    owner: str
    source: str
    array: Array
    caller: str = ""
    inputs: str = ""
    repeats: str = ""


@dataclass
class Manifest:
    """What a trace was made of and with.

    Attributes:
        framework: "torch" or "jittor".
        dtype: dtype of the model.
        modules: names of all modules, run or not.
        environment: versions and flags.
        inputs: what was run: options, weights and images, with hashes.
    """

    framework: str
    dtype: str
    modules: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)


class TraceWriter:
    """Writes a trace as it comes, keeping no tensor in memory.

    Args:
        directory: the folder, which must be new or empty.
        manifest: written by ``close``.

    Raises:
        InputError: the folder holds something already or cannot be made, or the manifest is none that can be read.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        with manifests.refused(directory, "the manifest cannot be written", "name it otherwise"):
            manifests.check(manifest)
        with manifests.written(directory):
            if directory.exists() and any(directory.iterdir()):
                raise InputError(f"{directory}: is not empty; name a new folder for the trace, or remove this one")
            directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.manifest = manifest
        self._shard: ShardWriter | None = None
        self._shards = 0
        self._records: dict[str, Record] = {}

    def add(self, entry: Entry) -> None:
        """Add one tensor.

        Raises:
            InputError: an earlier one has its name, no trace holds such a name, dtype or size, or the disk is full.
        """
        array = np.asarray(entry.array, order="C")
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        key = str(len(self._records))
        with manifests.refused(self.directory, f"cannot hold {shown(entry.name)}", "leave it out or rename it"):
            form = Form(str(array.dtype), array.shape)
            if entry.name in self._records:
                raise Unreadable("an earlier one has its name")
            if self._shard and (self._shard.nbytes + form.nbytes > SHARD_BYTES or not self._shard.has_room(key, form)):
                self._flush()
            record = Record(
                name=entry.name,
                owner=entry.owner,
                source=entry.source,
                caller=entry.caller,
                inputs=entry.inputs,
                shape=[*form.shape],
                dtype=form.dtype,
                sha256=hashlib.sha256(bytes_of(array)).hexdigest(),
                shard=self._shards,
            )
        path = self.directory / _shard_name(self._shards)
        with manifests.written(path):
            self._shard = self._shard or ShardWriter(path)
            self._shard.add(key, form, array)
        self._records[entry.name] = record

    def close(self) -> None:
        """Write what is left, and last the manifest: a folder without one is not a trace.

        Raises:
            InputError: the disk is full, or there are more entries than a manifest can hold.
        """
        self._flush()
        manifests.save(self.directory, self.manifest, [*self._records.values()])

    def _flush(self) -> None:
        if self._shard is not None:
            with manifests.written(self._shard.path):
                self._shard.close()
            self._shard = None
            self._shards += 1


def read_manifest(directory: Path) -> Manifest:
    """Read what a trace was made of and with.

    Raises:
        InputError: the folder has no manifest, or one that is not right in every respect.
    """
    return manifests.load(directory, Manifest)[0]


def trace_hash(directory: Path) -> str:
    """Return a sha256 of a trace: of names, shapes, dtypes and hashes of its tensors, in order.

    It is what the manifest says; that the tensors are so is found when they are read.

    Raises:
        InputError: as for ``read_manifest``.
    """
    _, records = manifests.load(directory, Manifest)
    listed = [[record.name, record.shape, record.dtype, record.sha256] for record in records]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def read_trace(directory: Path) -> tuple[Manifest, Iterator[Entry]]:
    """Open a trace from disk; the tensors are read one by one and their hashes are checked.

    No more than the tensor that is handed on is in memory, whatever the size of the trace.

    Raises:
        InputError: the folder is not a complete trace, or (while iterating) a tensor is not what was recorded.
    """
    reader = TraceReader(directory)
    return reader.manifest, (reader.read(place) for place in range(len(reader.names)))


class TraceReader:
    """Reads the tensors of a trace in any order, and checks their hashes; nothing is kept in memory.

    Args:
        directory: the trace.

    Raises:
        InputError: the folder is not a complete trace.

    Attributes:
        manifest: what the trace was made of and with.
        names: of all tensors, in the order in which they came.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.manifest, self._records = manifests.load(directory, Manifest)
        self.names = [record.name for record in self._records]
        beyond = directory / _shard_name(self._records[-1].shard + 1 if self._records else 0)
        if beyond.is_symlink() or beyond.exists():
            raise InputError(f"{beyond}: no entry of the manifest is in it; remove it, or {AGAIN}")
        places_of = itertools.groupby(range(len(self._records)), self._shard_of)
        self._shards = {shard: [*group] for shard, group in places_of}
        # Where in the shards that have been looked at the tensors begin.
        self._starts: dict[int, int] = {}

    def read(self, place: int) -> Entry:
        """Read a tensor.

        Raises:
            InputError: it is not what was recorded.
        """
        path = self._directory / _shard_name(self._shard_of(place))
        try:
            with opened(path) as descriptor:
                if place not in self._starts:
                    forms = {str(index): self._records[index].form for index in self._shards[self._shard_of(place)]}
                    self._starts |= {int(key): start for key, start in places(descriptor, forms).items()}
                return _entry(self._records[place], path, descriptor, self._starts[place])
        except (Unreadable, FileNotFoundError) as error:
            at = int(error.key) if isinstance(error, Unreadable) and error.key else place
            why = "no such file" if isinstance(error, FileNotFoundError) else error
            raise InputError(f"{path}: cannot read {self._records[at].name} ({why}); {AGAIN}") from None

    def _shard_of(self, place: int) -> int:
        return self._records[place].shard


def _entry(record: Record, path: Path, descriptor: int, start: int) -> Entry:
    digest = hashlib.sha256()
    array = read_tensor(descriptor, start, record.form, digest.update)
    if digest.hexdigest() != record.sha256:
        raise InputError(f"{path}: {record.name} is not what was recorded (wrong hash); {AGAIN}")
    return Entry(record.name, record.owner, record.source, array, record.caller, record.inputs)


def _shard_name(index: int) -> str:
    return f"shard-{index:05d}.safetensors"
