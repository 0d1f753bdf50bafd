"""Traces: every tensor that crossed a module boundary, in the order in which it came to be.

On disk a trace is a folder of safetensors shards and a ``manifest.json`` with names, shapes, dtypes, sources, hashes
and the environment that made it, so that two frameworks can be recorded apart and compared later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from detr_common.errors import InputError

Array = npt.NDArray[Any]

FORMAT = 1
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
    """Writes a trace as it comes, holding no more than one shard in memory.

    Args:
        directory: the folder, which must be new or empty.
        manifest: completed by ``close``.

    Raises:
        InputError: the folder holds something already.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        if directory.exists() and any(directory.iterdir()):
            raise InputError(f"{directory}: is not empty; name a new folder for the trace, or remove this one")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.manifest = manifest
        self._shard: dict[str, Array] = {}
        self._shards = 0
        self._entries: list[dict[str, Any]] = []

    def add(self, entry: Entry) -> None:
        """Add one tensor."""
        array = np.asarray(entry.array, order="C")
        self._entries.append(
            {
                "name": entry.name,
                "owner": entry.owner,
                "source": entry.source,
                "caller": entry.caller,
                "inputs": entry.inputs,
                "shape": list(array.shape),
                "dtype": str(array.dtype),
                "sha256": _sha256(array),
                "shard": self._shards,
            }
        )
        self._shard[str(len(self._entries) - 1)] = array
        if sum(a.nbytes for a in self._shard.values()) >= SHARD_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and last the manifest: a folder without one is not a trace."""
        self._flush()
        content = {"format": FORMAT, **asdict(self.manifest), "entries": self._entries}
        (self.directory / "manifest.json").write_text(json.dumps(content, indent=1))

    def _flush(self) -> None:
        if self._shard:
            save_file(self._shard, self.directory / _shard_name(self._shards))
            self._shard = {}
            self._shards += 1


def read_trace(directory: Path) -> tuple[Manifest, Iterator[Entry]]:
    """Open a trace from disk; the tensors are read one by one and their hashes are checked.

    Raises:
        InputError: the folder is not a complete trace, or (while iterating) a tensor is not what was recorded.
    """
    path = directory / "manifest.json"
    try:
        content = json.loads(path.read_text())
        if content.pop("format") != FORMAT:
            raise InputError(f"{path}: written in another format; record the trace again")
        entries = content.pop("entries")
        manifest = Manifest(**content)
    except FileNotFoundError:
        raise InputError(f"{directory}: not a trace (no manifest.json); record it again") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); record the trace again") from None
    return manifest, _read_entries(directory, entries)


def _read_entries(directory: Path, entries: Iterable[dict[str, Any]]) -> Iterator[Entry]:
    for index, entry in enumerate(entries):
        path = directory / _shard_name(int(entry["shard"]))
        try:
            with safe_open(path, framework="numpy") as shard:
                array = shard.get_tensor(str(index))
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot read {entry['name']} ({error}); record the trace again") from None
        if _sha256(array) != entry["sha256"]:
            raise InputError(f"{path}: {entry['name']} is not what was recorded (wrong hash); record the trace again")
        yield Entry(entry["name"], entry["owner"], entry["source"], array, entry["caller"], entry["inputs"])


def _shard_name(index: int) -> str:
    return f"shard-{index:05d}.safetensors"


def _sha256(array: Array) -> str:
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data if array.size else b"").hexdigest()
