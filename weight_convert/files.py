"""Reading and writing checkpoint files."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import itertools
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from weight_convert import admitted, archive, emit, pth, tensorfile, unpickle
from weight_convert.atomic import replace
from weight_convert.contents import state_dict_of
from weight_convert.errors import CheckpointError, NamedError, printable
from weight_convert.note import Note, read_note
from weight_convert.source import FileSource
from weight_convert.tree import Array, NumpyArray, rebuild

Loader = Literal["auto", "torch", "numpy"]
Format = Literal["pth", "legacy", "pkl", "safetensors"]
SUFFIXES: dict[str, Format] = {
    ".pth": "pth", ".pt": "pth", ".bin": "pth", ".pkl": "pkl", ".safetensors": "safetensors",
}  # fmt: skip
_LEGACY_HEAD = b"\x80\x02\x8a\x0a" + pth.LEGACY_MAGIC.to_bytes(10, "little")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Content:
    """What a file holds, and what of it the tree does not, a phrase each."""

    tree: Any
    changes: tuple[str, ...]
    confirm: Callable[[], None] = lambda: None  # raises CheckpointError if the file is damaged; to be called


def read(path: str | os.PathLike[str], loader: Loader = "auto") -> Any:
    """Read a checkpoint; its format is found from its first bytes, not from its name. No code in it is run.

    Args:
        path: ``.pth`` of either of PyTorch's formats, ``.pkl`` as ``jittor.save``, ``pickle.dump`` or `write` made it,
            or ``.safetensors``.
        loader: for ``.pth``: "torch" is PyTorch's restricted loader, "numpy" a reader of our own that needs no PyTorch,
            "auto" the first where PyTorch is installed, else the second. Both give the same arrays. What the first does
            not admit, reads wrongly (some of a big-endian machine) or might never end with goes to the second anyway.

    Returns:
        dict, OrderedDict, Counter, list, tuple, set and ``argparse.Namespace``, nested, with Python scalars, strings
        and NumPy arrays and numbers as leaves (bfloat16 as ``ml_dtypes.bfloat16``, tensors of any device on the CPU,
        torch dtypes and devices as strings). What is an array of NumPy's in a ``.pth`` and no tensor is a
        `tree.NumpyArray`. Arrays are writable; writing to them leaves the file unchanged.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, or holds anything but data.
    """
    content = read_content(path, loader)
    content.confirm()
    return content.tree


def read_content(path: str | os.PathLike[str], loader: Loader = "auto") -> Content:
    """Read a checkpoint and say what of the file is not in the tree; otherwise as `read`.

    Its checksums may still be compared when this returns: nobody may rely on the content before ``confirm`` returned.
    """
    path = Path(path)
    with _named(path), _opened(path) as (file, data):
        kind = detect(data[:64], len(data))
        if kind == "safetensors":
            state, metadata = tensorfile.load(data)
            return Content(state, tuple(f"metadata {ascii(name)[1:-1]}, not kept" for name in metadata))
        if kind == "pkl":
            return Content(_read_pickle(file, data), ())
        # First by our own reader: no pickle can make it run anything or keep it busy for ever, as it can PyTorch's.
        if kind == "legacy":
            return _load_pth(path, pth.parse_legacy(file, data), loader)
        members = archive.members(file, data)
        check = archive.Check(members, file)
        try:
            content = _load_pth(path, pth.parse_zip(members, data), loader)
        except CheckpointError:
            check.finish()  # whatever went wrong, that the file is damaged is what the user has to know
            raise
        return dataclasses.replace(content, confirm=_with_name(path, check.finish))


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the weights of a model; needs neither PyTorch nor Jittor and imports neither.

    Args:
        path: as for `read`; a whole checkpoint (``{"model": ...}`` or ``{"state_dict": ...}``) or a bare state dict.

    Returns:
        Arrays by name, in the file's order.

    Raises:
        CheckpointError: as for `read`, or the file holds no state dict.
    """
    tree = read(path, loader="numpy")
    with _named(Path(path)):
        return state_dict_of(tree)


def write(tree: object, path: str | os.PathLike[str], *, confirm: Callable[[], None] = lambda: None) -> None:
    """Write a checkpoint, whole or not at all; the suffix decides the format.

    Args:
        tree: what `read` returns. NumPy's numbers stay what they are, in ``.pth`` too; there ``torch.load`` takes them
            with ``weights_only=False`` only, as it does arrays that `tree.keep_numpy` marks. All others are tensors.
        path: ``.pth``, ``.pt``, ``.bin``: written by ``torch.save``, which must be installed. ``.pkl``: read by
            ``jittor.load`` and ``pickle.load``, which find bfloat16 as float32 of the same values. ``.safetensors``:
            flat dict of arrays only. An existing file is replaced.
        confirm: called when all is written and before an existing file is replaced; what it raises stops that.

    Raises:
        CheckpointError: the suffix is none of these, the format cannot hold a leaf (its place is named), PyTorch is
            missing, or the file cannot be written. The path is then as it was.
    """
    path = Path(path)
    with _named(path):
        kind = SUFFIXES.get(path.suffix.lower())
        if kind is None:
            raise CheckpointError(f"unknown suffix {path.suffix!r}; use one of {', '.join(SUFFIXES)}")
        clean = rebuild(tree, _writable_leaf())
        if kind == "pth":
            if not _has_torch():
                raise CheckpointError("writing .pth needs PyTorch, which is not installed; write .pkl or .safetensors")
            from weight_convert import tensors

            replace(path, lambda file: tensors.save(clean, Path(file.name)), confirm)
        elif kind == "pkl":
            replace(path, lambda file: emit.save(clean, file), confirm)
        else:
            replace(path, lambda file: tensorfile.save(clean, file), confirm)


def detect(head: bytes, size: int) -> Format:
    """The format of a file of ``size`` bytes that starts with ``head``.

    Raises:
        CheckpointError: it is none.
    """
    if size == 0:
        raise CheckpointError("is empty; fetch or save it again")
    if head.startswith(b"PK\x03\x04"):
        return "pth"
    if head.startswith(_LEGACY_HEAD):
        return "legacy"
    if head[0] == 0x80 and len(head) > 1 and 2 <= head[1] <= 5:
        return "pkl"
    if tensorfile.looks_like(head, size):
        return "safetensors"
    if head.lstrip()[:1] == b"<":
        raise CheckpointError("is a web page, not a checkpoint: the download failed; fetch it again")
    raise CheckpointError(
        "is not a checkpoint: neither a PyTorch file nor a pickle (protocol 2 or later) nor safetensors"
    )


def import_frameworks(*paths: Path) -> None:
    """Import PyTorch now if reading or writing one of these will need it, so that it is not timed."""
    if _has_torch() and any(SUFFIXES.get(path.suffix.lower(), "pth") == "pth" for path in paths):
        from weight_convert import tensors

        tensors.warm_up()


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name before the message."""
    try:
        yield
    except NamedError:
        raise
    except CheckpointError as error:
        raise NamedError(f"{path}: {printable(str(error))}") from error
    except OSError as error:
        raise NamedError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _with_name(path: Path, action: Callable[[], None]) -> Callable[[], None]:
    def named() -> None:
        with _named(path):
            action()

    return named


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Any]]:
    """The file, and its bytes: mapped copy-on-write, so that arrays may be views of it and be written to."""
    if not path.exists():
        raise CheckpointError("no such file")
    if not path.is_file():
        raise CheckpointError("is not a file; name the checkpoint itself")
    with path.open("rb") as file:
        empty = os.fstat(file.fileno()).st_size == 0
        yield file, b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _load_pth(path: Path, parsed: pth.Parsed, loader: Loader) -> Content:
    changes = parsed.changes()
    # By this name PyTorch takes it for another format; of a big-endian machine it leaves some dtypes as they lie; and
    # what was not looked at may keep it busy for ever.
    ours = path.name.endswith(".safetensors") or parsed.big_endian or parsed.unchecked
    if not ours and (loader == "torch" or (loader == "auto" and _has_torch())):
        from weight_convert import tensors

        with contextlib.suppress(tensors.UnknownName):
            return Content(tensors.load(path, parsed.records), changes)
        # NumPy's numbers, which training scripts leave among the losses: ours admits them.
    return Content(parsed.arrays(), changes)


def _read_pickle(file: BinaryIO, data: mmap.mmap) -> Any:
    if data[-8:] != emit.JITTOR_END or len(data) <= 28:
        return _parse_pickle(file, data, len(data), may_note=False)
    end = len(data) - 28
    # Beside the parsing, which is safe on any bytes; a wrong checksum is what the user is told of either way.
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(_sha1, file.fileno(), end)
        try:
            return _parse_pickle(file, data, end, may_note=True)
        finally:
            if digest.result() != data[end : end + 20]:
                raise CheckpointError("is damaged: its checksum does not match; fetch or save it again")


def _parse_pickle(file: BinaryIO, data: mmap.mmap, end: int, may_note: bool) -> Any:
    source = FileSource(file, end, data)
    tree = unpickle.load(source, admitted.TABLE)
    note = Note()
    if may_note and source.tell() < end:
        note = read_note(unpickle.load(source, {}))
    if source.tell() != end:
        raise CheckpointError("is cut off in its checksum, or something follows its pickle; fetch or save it again")
    count = itertools.count()

    def leaf(value: Any, place: str) -> Any:
        found = admitted.leaf(value, place)
        return note.restore(found, next(count)) if isinstance(value, admitted.Pending) else found

    return rebuild(tree, leaf)


def _sha1(descriptor: int, end: int) -> bytes:
    digest = hashlib.sha1(usedforsecurity=False)
    for start in range(0, end, _CHUNK):
        digest.update(os.pread(descriptor, min(_CHUNK, end - start), start))
    return digest.digest()


def _writable_leaf() -> Callable[[Any, str], Any]:
    """Accepts arrays of numbers; arrays over the very same memory become one, so that tied weights stay tied."""
    seen: dict[tuple[Any, ...], Array] = {}

    def leaf(value: Any, place: str) -> Any:
        if not isinstance(value, (np.ndarray, np.generic)):
            raise CheckpointError(
                f"{place or 'the top'} is a {type(value).__module__}.{type(value).__name__}; only arrays, containers, "
                "numbers and strings can be written"
            )
        array = np.asarray(value)
        if array.dtype != admitted.BFLOAT16 and array.dtype.kind not in "biufc":
            raise CheckpointError(
                f"{place or 'the top'} is an array of dtype {array.dtype}; only numbers can be written"
            )
        if isinstance(value, np.generic):
            # A number of bfloat16 has no form of its own in either format.
            return array if array.dtype == admitted.BFLOAT16 else value
        if isinstance(value, NumpyArray):
            array = value
        key = (
            type(array),
            array.__array_interface__["data"][0],
            array.shape,
            array.strides,
            array.dtype.str,
            array.dtype.name,
        )
        return seen.setdefault(key, array) if array.size else array

    return leaf
