"""A recording on disk: ``recording.json``, the weights, the choices to follow, and a trace for each pass.

It is written last, so a folder without it is no recording; and it tells the hash of each trace, so that traces of
another recording are not taken for its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from detr_common.errors import InputError
from parity.frameworks import FRAMEWORKS
from parity.trace import Array, Entry, Manifest, read_manifest, read_trace, trace_hash

FORMAT = 1
FILE = "recording.json"
WEIGHTS = "weights.safetensors"
_LARGEST = 64 * 2**20
_AGAIN = "record it again"


@dataclass
class Recording:
    """What ``recording.json`` holds.

    Attributes:
        framework: "torch" or "jittor".
        same: what must be the same in both recordings of a comparison: rungs, seeds, steps, hashes of inputs.
        weights: sha256 by name of each weight that the models had.
        rates: learning rates by a part of a parameter's name; the last that fits holds.
        settings: what was run, for the reader.
        environment: versions and flags.
        modules: names of all modules.
        resting: those that need not run, since they only hold others.
        follows: identity of the reference's recording whose choices were followed; empty for the reference.
        traces: hash of each trace, by its folder.
        failures: traceback of each pass that raised, by the folder of its trace.
        own: shape of each weight that the model itself has, before any is loaded.
        rules: rules of renaming, ``{path of the port: path of the reference}``.
    """

    framework: str
    same: dict[str, Any]
    weights: dict[str, str]
    rates: list[list[Any]]
    settings: dict[str, Any]
    environment: dict[str, str]
    modules: list[str]
    resting: list[str] = field(default_factory=list)
    follows: str = ""
    traces: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    own: dict[str, list[int]] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What tells it from every other recording."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write it; the recording is then complete."""
        partial = folder / f".{FILE}.part"
        partial.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1), encoding="utf8")
        partial.replace(folder / FILE)


def read_recording(folder: Path) -> Recording:
    """Read what a recording is; its traces are looked at when they are read.

    Raises:
        InputError: the folder is no complete recording.
    """
    path = folder / FILE
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one that parity record has made")
    if not path.is_file():
        raise InputError(f"{folder}: no complete recording (there is no {FILE}); {_AGAIN}")
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path}: is too large to be one; {_AGAIN}")
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        if content.pop("format") != FORMAT:
            raise InputError(f"{path}: is of another format than this version reads; {_AGAIN}")
        recording = Recording(**content)
        _check(recording, path)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({error}); {_AGAIN}") from None
    return recording


def _check(recording: Recording, path: Path) -> None:
    kinds = {
        "framework": str, "follows": str, "same": dict, "weights": dict, "rates": list, "settings": dict,
        "environment": dict, "modules": list, "resting": list, "traces": dict, "failures": dict, "own": dict,
        "rules": dict,
    }  # fmt: skip
    for name, kind in kinds.items():
        if type(getattr(recording, name)) is not kind:
            raise InputError(f"{path}: damaged ({name} is no {kind.__name__}); {_AGAIN}")
    if recording.framework not in FRAMEWORKS:
        raise InputError(f"{path}: damaged (no such framework: {recording.framework!r}); {_AGAIN}")
    for name in recording.traces:
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or not inside.parts:
            raise InputError(f"{path}: the trace {name!r} would lie outside of the recording; {_AGAIN}")


def entries_of(folder: Path, recording: Recording, name: str) -> Iterator[Entry]:
    """Yield the tensors of one pass.

    Raises:
        InputError: the pass was not recorded, or its trace is damaged or of another recording.
    """
    opened(folder, recording, name)
    yield from read_trace(folder / name)[1]


def opened(folder: Path, recording: Recording, name: str) -> Manifest:
    """Return the manifest of a trace that is the recording's own.

    Raises:
        InputError: there is none.
    """
    if name not in recording.traces:
        raise InputError(f"{folder}: has no {name}; record with the same rungs and steps")
    manifest = read_manifest(folder / name)
    if trace_hash(folder / name) != recording.traces[name]:
        raise InputError(f"{folder / name}: is not the trace that was recorded here (stale or mixed); {_AGAIN}")
    return manifest


def write_choices(folder: Path, name: str, choices: Mapping[str, Array]) -> None:
    """Write the choices of a pass of the reference, which others follow."""
    path = folder / "choices" / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    # Names are keys of a file here, and may hold what no file's name can.
    names = list(choices)
    arrays = {str(i): choices[one] for i, one in enumerate(names)}
    save_file(arrays, path, metadata={"names": json.dumps(names)})


def read_choices(folder: Path, name: str) -> dict[str, Array]:
    """Return the choices of a pass of the reference.

    Raises:
        InputError: there are none.
    """
    path = folder / "choices" / f"{name}.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            names = json.loads((file.metadata() or {})["names"])
            return {one: file.get_tensor(str(i)) for i, one in enumerate(names)}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: the choices of the reference cannot be read ({error}); {_AGAIN}") from None


def digest(array: Array) -> str:
    """Return the sha256 of an array with its dtype and shape."""
    summed = hashlib.sha256(f"{array.dtype}{list(array.shape)}".encode())
    summed.update(array.tobytes())
    return summed.hexdigest()
