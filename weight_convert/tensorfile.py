"""The safetensors format: a JSON header, then the numbers. Bare state dicts only."""

from __future__ import annotations

import json
import math
import mmap
from typing import Any, BinaryIO

import numpy as np

from weight_convert.admitted import BFLOAT16, build_array
from weight_convert.errors import CheckpointError, printable
from weight_convert.tree import Array
from weight_convert.unpickle import FAULTS

_MAX_HEADER = 100_000_000
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": BFLOAT16,
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"), "C64": np.dtype("<c8"),
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def looks_like(head: bytes, size: int) -> bool:
    """Whether a file that starts with ``head`` (9 bytes or more) and has ``size`` bytes may be safetensors."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= min(size - 8, _MAX_HEADER)


def load(data: mmap.mmap) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Read a file mapped copy-on-write; the arrays are views of it.

    Returns:
        The arrays, and the names of the file's metadata, which is not kept; "format" says nothing and is left out.

    Raises:
        CheckpointError: the file is damaged or has a dtype that NumPy cannot hold.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8:start].decode(), object_pairs_hook=_unique)
        metadata = tuple(name for name in header.pop("__metadata__", {}) if name != "format")
        entries = sorted(header.items(), key=lambda entry: entry[1]["data_offsets"])
        body = memoryview(data)[start:]
        _check_places([entry["data_offsets"] for _, entry in entries], len(body))
        return {name: _entry(name, entry, body) for name, entry in entries}, metadata
    except CheckpointError:
        raise
    except FAULTS as fault:
        raise CheckpointError(f"is a damaged safetensors file ({type(fault).__name__}: {fault})") from fault


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CheckpointError("is a damaged safetensors file (a name is there twice)")
    return found


def _check_places(spans: list[list[int]], size: int) -> None:
    """Refuse gaps and overlaps, as the format does: a small file could else be a thousand large tensors."""
    at = 0
    for begin, end in spans:
        if type(begin) is not int or type(end) is not int or begin != at or end < begin:
            raise CheckpointError("is a damaged safetensors file (its tensors do not lie one behind another)")
        at = end
    if at != size:
        raise CheckpointError(f"is cut off, or is not all of it: {at} bytes of tensors expected, {size} there")


def _entry(name: str, entry: dict[str, Any], body: memoryview) -> Array:
    begin, end = entry["data_offsets"]
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None:
        raise CheckpointError(f"{name} has dtype {printable(str(entry['dtype']), 200)}, which NumPy cannot hold")
    return build_array(body[begin:end], dtype, tuple(entry["shape"]), False)


def save(tree: object, file: BinaryIO) -> None:
    """Write a bare state dict in its own order.

    Raises:
        CheckpointError: the tree is not a flat dict of arrays, or a dtype has no name in this format.
    """
    if not isinstance(tree, dict):
        raise CheckpointError("safetensors holds a bare state dict only; write .pth or .pkl instead")
    header: dict[str, Any] = {}
    at = 0
    for name, value in tree.items():
        if not isinstance(value, np.ndarray) or not isinstance(name, str):
            raise CheckpointError(
                f"{name} is not an array: safetensors holds a bare state dict only; write .pth or .pkl"
            )
        native = value.dtype.newbyteorder("<") if value.dtype != BFLOAT16 else BFLOAT16
        if native not in _NAMES:
            raise CheckpointError(f"{name} has dtype {value.dtype}, which safetensors cannot hold")
        size = math.prod(value.shape) * native.itemsize
        header[name] = {"dtype": _NAMES[native], "shape": list(value.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for value in tree.values():
        flat = np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C").reshape(-1)
        if flat.nbytes:
            file.write(memoryview(flat.view(np.uint8)))  # type: ignore[arg-type]
