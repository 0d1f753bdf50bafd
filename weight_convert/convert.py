"""From one checkpoint file to another, with a summary."""

from __future__ import annotations

import argparse
import hashlib
import os
import struct
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weight_convert import contents
from weight_convert.errors import CheckpointError
from weight_convert.files import SUFFIXES, Loader, import_frameworks, read, read_content, write
from weight_convert.tree import arrays, join, numpy_values


@dataclass(frozen=True)
class Summary:
    """What a conversion did."""

    source: str
    destination: str
    contents: str  # what was written, in words
    left_out: tuple[str, ...]  # what the source holds beside its weights, where only they were written
    changes: tuple[str, ...]  # what is something else than in the source, or what reading it takes
    tensors: int
    bytes: int  # of the tensors
    dtypes: dict[str, int]  # tensors of each
    sha256: str  # of the file written
    seconds: float  # reading and writing, imports apart
    differences: tuple[str, ...] | None  # places; None: not verified

    @property
    def verified(self) -> bool | None:
        """Whether the file written holds the same bits; None when nobody looked."""
        return None if self.differences is None else not self.differences


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    force: bool = False,
    verify: bool = False,
    weights_only: bool = False,
    loader: Loader = "auto",
    progress: Callable[[str], None] = lambda step: None,
) -> Summary:
    """Convert a checkpoint; dtypes and numbers are kept bit by bit.

    Args:
        source: a file that `weight_convert.read` reads.
        destination: its suffix decides the format. ``.safetensors`` holds weights and nothing else.
        force: replace an existing destination.
        verify: read the destination back and compare it with the source.
        weights_only: leave out what the source holds beside its weights; the summary names it.
        loader: as for `weight_convert.read`.
        progress: called with the name of each step before it starts.

    Raises:
        CheckpointError: the source cannot be read, the destination exists or cannot be written, is the source,
            or cannot hold what the source holds beside its weights. The destination is then as it was.
    """
    source, destination = Path(source), Path(destination)
    check_destination(source, destination, force)
    import_frameworks(source, destination)
    start = time.perf_counter()
    progress(f"reading {source}")
    content = read_content(source, loader)
    try:
        tree, left_out = _to_write(content.tree, source, destination, weights_only)
    except CheckpointError:
        content.confirm()
        raise
    found = list(arrays(tree))
    progress(f"writing {destination}")
    # The checksums of a large source are still being compared; the destination is not touched before they are.
    write(tree, destination, confirm=content.confirm)
    seconds = time.perf_counter() - start
    differences = None
    if verify:
        progress(f"verifying {destination}")
        differences = tuple(compare(tree, read(destination, loader)))
    return Summary(
        source=str(source),
        destination=str(destination),
        contents=contents.describe(tree),
        left_out=left_out,
        changes=content.changes + _changes(tree, destination),
        tensors=len(found),
        bytes=sum(array.nbytes for _, array in found),
        dtypes=dict(Counter(array.dtype.name for _, array in found)),
        sha256=_sha256(destination),
        seconds=seconds,
        differences=differences,
    )


def _to_write(tree: Any, source: Path, destination: Path, weights_only: bool) -> tuple[Any, tuple[str, ...]]:
    """The part of a source's tree that is written, and the names of what is not.

    Raises:
        CheckpointError: something would be left out that nobody said may be, or there are no weights.
    """
    if not any(True for _ in arrays(tree)):
        raise CheckpointError(f"{source}: holds no tensors; nothing was written")
    flat = SUFFIXES[destination.suffix.lower()] == "safetensors"
    if not flat and not weights_only:
        return tree, ()
    left_out = contents.beside_weights(tree)
    if left_out and not weights_only:
        raise CheckpointError(
            f"{destination}: safetensors holds weights only, so {', '.join(left_out)} of {source} would be lost; write "
            ".pth or .pkl instead, or leave them out with --weights-only"
        )
    try:
        weights = contents.state_dict_of(tree)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    key = contents.weights_key(tree)
    if flat:
        return weights, left_out
    return (tree if key is None else {key: tree[key]}), left_out


def _changes(tree: Any, destination: Path) -> tuple[str, ...]:
    """What writing changes, or what the user has to know to read what was written."""
    kind = SUFFIXES[destination.suffix.lower()]
    count = numpy_values(tree) if kind == "pth" else 0
    return (f"{count} values of NumPy's, which torch.load takes with weights_only=False only",) if count else ()


def check_destination(source: Path, destination: Path, force: bool) -> None:
    """Refuse a destination that cannot or should not be written, before anything is read.

    Raises:
        CheckpointError: an unknown suffix, a directory, no folder to write in, the source itself, or an existing file
            without ``force``.
    """
    if destination.suffix.lower() not in SUFFIXES:
        raise CheckpointError(f"{destination}: unknown suffix {destination.suffix!r}; use one of {', '.join(SUFFIXES)}")
    if destination.is_dir():
        raise CheckpointError(f"{destination}: is a directory; name a file")
    if not destination.parent.is_dir():
        raise CheckpointError(f"{destination}: the folder {destination.parent} does not exist; make it first")
    if destination.exists():
        if source.exists() and source.samefile(destination):
            raise CheckpointError(f"{destination}: source and destination are the same file; name another destination")
        if not force:
            raise CheckpointError(f"{destination}: exists already; --force replaces it")


def compare(left: Any, right: Any, place: str = "") -> list[str]:
    """Places where two trees differ in a bit of a number, a dtype, a shape, a name, an order or a kind of container."""
    if type(left) is not type(right):
        return [place]
    if isinstance(left, (np.ndarray, np.generic)):
        return [] if _same_array(np.asarray(left), np.asarray(right)) else [place]
    if isinstance(left, argparse.Namespace):
        return compare(vars(left), vars(right), place)
    if isinstance(left, dict):
        if list(map(repr, left)) != list(map(repr, right)):  # 1, 1.0 and True are equal keys
            return [place]
        found = [found for key in left for found in compare(left[key], right[key], join(place, key))]
        if isinstance(left, OrderedDict):
            found += compare(vars(left), vars(right), join(place, "attributes"))
        return found
    if isinstance(left, (list, tuple)):
        if len(left) != len(right):
            return [place]
        pairs = enumerate(zip(left, right, strict=True))
        return [found for index, (a, b) in pairs for found in compare(a, b, join(place, index))]
    if isinstance(left, float):
        return [] if struct.pack("d", left) == struct.pack("d", right) else [place]
    return [] if left == right or repr(left) == repr(right) else [place]


def _same_array(left: Any, right: Any) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    a, b = (np.asarray(array, order="C").reshape(-1).view(np.uint8) for array in (left, right))
    return bool(np.array_equal(a, b)) if left.size else True


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
