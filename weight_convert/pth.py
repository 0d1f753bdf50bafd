"""A reader of ``.pth`` files that needs no PyTorch and runs no code from the file."""

from __future__ import annotations

import mmap
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from weight_convert import admitted, unpickle
from weight_convert.archive import Member
from weight_convert.errors import CheckpointError, printable
from weight_convert.records import (
    DTYPE_NAMES,
    MAX_REPEATED,
    MAX_VIEWS,
    Device,
    Storage,
    Tensor,
    Unheld,
    as_array,
    check_reach,
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
    nbytes: int
    unchecked: bool  # holds what no array is made of, such as attributes of tensors, and nobody has looked at
    big_endian: bool = False
    records: Mapping[str, int] | None = None  # of a zip archive: what it holds, and where

    def changes(self) -> tuple[str, ...]:
        """What `arrays` does not keep, a phrase each.

        Raises:
            CheckpointError: there is a tensor that no array can be made of, whose place is named; or one that reaches
                beyond its storage, or more of them than the file is large enough for.
        """
        counts: Counter[str] = Counter()
        left = MAX_VIEWS * self.nbytes + MAX_REPEATED

        def leaf(value: Any, place: str) -> None:
            nonlocal left
            if isinstance(value, Unheld):
                raise CheckpointError(f"{place or 'the top'} is {value.what}, which NumPy cannot hold; {value.advice}")
            if isinstance(value, Tensor):
                left -= check_reach(value, self.storage_bytes(value.storage))
                if left < 0:
                    raise CheckpointError("has tensors that are far larger than the file, all together")
                if value.storage.device != "cpu":
                    counts[f"tensors of {printable(value.storage.device, 160)}, now on the CPU"] += 1
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
    unchecked: list[None] = []
    table = make_table(lambda: unchecked.append(None))
    tree = unpickle.load(FileSource.of_bytes(members[f"{root}data.pkl"].of(data)), table, persistent)
    view = memoryview(data)

    def storage_bytes(storage: Storage) -> memoryview:
        where = members.get(f"{root}data/{storage.key}")
        if where is None:
            raise CheckpointError(f"lacks the storage {storage.key}; it is damaged")
        return view[where.start : where.start + where.size]

    records = {name.removeprefix(root): member.start for name, member in members.items()}
    return Parsed(tree, storage_bytes, len(data), bool(unchecked), order == b"big", records)


def parse_legacy(file: BinaryIO, data: mmap.mmap) -> Parsed:
    """Read the five pickles of the format of PyTorch before 1.6; the storages follow them.

    Args:
        file: the file, at its start.
        data: the whole file, mapped copy-on-write.

    Raises:
        CheckpointError: damaged, or it holds what reading does not admit.
    """
    if _is_tar(data[: tarfile.BLOCKSIZE]):
        raise CheckpointError("is a tar archive too, as which another reader would take it, so not a checkpoint")
    source = FileSource(file, len(data))
    if unpickle.load(source, {}) != LEGACY_MAGIC or unpickle.load(source, {}) != _LEGACY_PROTOCOL:
        raise CheckpointError("is not a PyTorch checkpoint (its magic number)")
    unpickle.load(source, {})  # of the machine that wrote it; the numbers are little-endian wherever that was
    storages: dict[str, Storage] = {}
    unchecked: list[None] = []
    table = make_table(lambda: unchecked.append(None))
    tree = unpickle.load(source, table, lambda pid: persistent_legacy(pid, storages))
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
        count = int.from_bytes(view[at : at + 8], "little")
        end = at + 8 + count * storage.dtype.itemsize
        if end > len(data):
            raise CheckpointError("is cut off; fetch or save it again")
        where[key] = view[at + 8 : end]
        at = end

    def storage_bytes(storage: Storage) -> memoryview:
        if storage.key not in where:
            raise CheckpointError(f"lacks the storage {storage.key}; it is damaged")
        return where[storage.key][storage.start :]

    return Parsed(tree, storage_bytes, len(data), bool(unchecked))


def _is_tar(head: bytes) -> bool:
    """Whether a file begins as a tar archive does, which the first versions of PyTorch wrote.

    Its later ones ask this first, and those before 2.6 run what such an archive holds.
    """
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True
