"""A reader of ``.pth`` files that needs no PyTorch and runs no code from the file."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from weight_convert import admitted, unpickle
from weight_convert.archive import Member
from weight_convert.errors import CheckpointError
from weight_convert.records import (
    DTYPE_NAMES,
    Device,
    Storage,
    Tensor,
    Unheld,
    as_array,
    make_table,
    persistent,
    persistent_legacy,
)
from weight_convert.source import FileSource
from weight_convert.tree import keep_numpy, rebuild
from weight_convert.unpickle import Global

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


@dataclass
class Parsed:
    """A file whose pickles have been read and found harmless; its tensors have not been read."""

    tree: Any
    storage_bytes: Callable[[Storage], memoryview]
    big_endian: bool

    def changes(self) -> tuple[str, ...]:
        """What `arrays` does not keep, a phrase each.

        Raises:
            CheckpointError: there is a tensor that no array can be made of; its place is named.
        """
        counts: Counter[str] = Counter()

        def leaf(value: Any, place: str) -> None:
            if isinstance(value, Unheld):
                raise CheckpointError(f"{place or 'the top'} is {value.what}, which NumPy cannot hold; {value.advice}")
            if isinstance(value, Tensor):
                if value.storage.device != "cpu":
                    counts[f"tensors of {value.storage.device}, now on the CPU"] += 1
                if value.trained:
                    counts["parameters or tensors that require gradients, now plain tensors"] += 1
            elif isinstance(value, (Global, Device)):
                counts["PyTorch dtypes or devices, now text"] += 1

        rebuild(self.tree, leaf)
        return tuple(f"{count} {what}" for what, count in counts.items())

    def arrays(self) -> Any:
        """The tree with its arrays: views of the file, or copies where a dtype cannot be used as it lies there.

        Raises:
            CheckpointError: damaged, or it holds what reading does not admit.
        """

        def leaf(value: Any, place: str) -> Any:
            if isinstance(value, Tensor):
                return as_array(value, self.storage_bytes(value.storage), self.big_endian)
            if isinstance(value, Device):
                return value.text
            if isinstance(value, Global) and value.module == "torch" and value.name in DTYPE_NAMES:
                return str(value)
            found = admitted.leaf(value, place)
            return keep_numpy(found) if isinstance(found, np.ndarray) else found

        try:
            return rebuild(self.tree, leaf)
        except CheckpointError:
            raise
        except unpickle.FAULTS as fault:
            raise CheckpointError(f"is damaged ({fault})") from fault


def parse_zip(members: Mapping[str, Member], data: mmap.mmap) -> Parsed:
    """Read the pickle of the format of PyTorch 1.6 and later.

    Args:
        members: what `archive.members` found in the file.
        data: the whole file, mapped copy-on-write.

    Raises:
        CheckpointError: not such a file, damaged, or it holds what reading does not admit.
    """
    roots = [name[: -len("data.pkl")] for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1:  # of two, another reader might take the other
        raise CheckpointError(f"is a zip archive with {len(roots) or 'no'} data.pkl, so not a PyTorch checkpoint")
    root = roots[0]
    if f"{root}constants.pkl" in members:
        raise CheckpointError("is a TorchScript program; save its state_dict() with torch.save instead")
    order = b"little"
    if f"{root}byteorder" in members:
        order = members[f"{root}byteorder"].of(data)
    if order not in (b"little", b"big"):
        raise CheckpointError(f"has an unknown byte order {order[:20]!r}")
    tree = unpickle.load(FileSource.of_bytes(members[f"{root}data.pkl"].of(data)), make_table(), persistent)
    view = memoryview(data)

    def storage_bytes(storage: Storage) -> memoryview:
        where = members.get(f"{root}data/{storage.key}")
        if where is None:
            raise CheckpointError(f"lacks the storage {storage.key}; it is damaged")
        return view[where.start : where.start + where.size]

    return Parsed(tree, storage_bytes, order == b"big")


def parse_legacy(file: BinaryIO, data: mmap.mmap) -> Parsed:
    """Read the five pickles of the format of PyTorch before 1.6; the storages follow them.

    Args:
        file: the file, at its start.
        data: the whole file, mapped copy-on-write.

    Raises:
        CheckpointError: damaged, or it holds what reading does not admit.
    """
    source = FileSource(file, len(data))
    if unpickle.load(source, {}) != LEGACY_MAGIC or unpickle.load(source, {}) != _LEGACY_PROTOCOL:
        raise CheckpointError("is not a PyTorch checkpoint (its magic number)")
    system = unpickle.load(source, {})
    little = system.get("little_endian", True) if isinstance(system, dict) else True
    storages: dict[str, Storage] = {}
    tree = unpickle.load(source, make_table(), lambda pid: persistent_legacy(pid, storages))
    keys = unpickle.load(source, {})
    if not isinstance(keys, list):
        raise CheckpointError("is damaged (its list of storages)")
    view = memoryview(data)
    where: dict[str, memoryview] = {}
    at = source.tell()
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or storage.dtype is None or at + 8 > len(data):
            raise CheckpointError("is damaged or cut off (its list of storages)")
        count = int.from_bytes(view[at : at + 8], "little" if little else "big")
        end = at + 8 + count * storage.dtype.itemsize
        if end > len(data):
            raise CheckpointError("is cut off; fetch or save it again")
        where[key] = view[at + 8 : end]
        at = end

    def storage_bytes(storage: Storage) -> memoryview:
        if storage.key not in where:
            raise CheckpointError(f"lacks the storage {storage.key}; it is damaged")
        return where[storage.key][storage.start :]

    return Parsed(tree, storage_bytes, not little)
