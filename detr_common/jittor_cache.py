"""Whether the files in Jittor's kernel cache are whole.

Jittor compiles its core and every kernel into ``~/.cache/jittor`` and loads whatever it finds there. A library that was
cut short (a full disk, a power cut, a process killed while linking) is mapped into memory all the same, and the first
touch of a missing page ends the process with a bus error and no word about the cause. The checks here read the first
and last bytes of each file only, so that they can run before every import.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from detr_common.errors import InputError
from detr_common.jittor_paths import jittor_root

CLEAN_COMMAND = "python -m parity doctor --clean-cache"

_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_PARTS_ABOVE_CACHE_NAME = 6  # Jittor's version, compiler, Python, system, processor, place of installation
_SECTION_WITHOUT_BYTES = 8  # SHT_NOBITS: .bss has a size but no place in the file


@dataclass(frozen=True)
class BrokenFile:
    """A file of the cache that Jittor must not load.

    Attributes:
        path: the file.
        reason: what is wrong with it, in words.
    """

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


def elf_damage(path: str | os.PathLike[str]) -> str | None:
    """Say what is wrong with a compiled library or object file, reading a few hundred bytes of it.

    Args:
        path: an ELF file (``.so`` or ``.o``) of a 64-bit little-endian machine.

    Returns:
        None where the file is whole: every segment and section lies inside the file and the table at its end is filled
        in. Damage inside a section is not seen.

    Raises:
        OSError: the file cannot be opened.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        if size == 0:
            return "is empty"
        start = os.pread(file, 1024, 0)
        if start[:4] != b"\x7fELF":
            # The linker writes the header last.
            return "is half-written or foreign (no ELF header)"
        if len(start) < _ELF_HEADER.size:
            return f"is cut short ({size} bytes, less than an ELF header)"
        header = _ELF_HEADER.unpack_from(start)
        sections_at, section_size, section_count = header[6], header[11], header[12]
        end_of_table = sections_at + section_size * section_count
        if end_of_table > size:
            return f"is cut short ({size} of at least {end_of_table} bytes)"
        table = os.pread(file, section_size * section_count, sections_at)
    finally:
        os.close(file)
    if section_count and not any(table[-section_size:]):
        return "is filled with zeros towards its end"
    if end_of_table == size:  # as compilers and linkers write it: the table last, so nothing can be missing before it
        return None
    needed = max(_ends_of_segments(header, start) + _ends_of_sections(table, section_size), default=0)
    return f"is cut short ({size} of at least {needed} bytes)" if needed > size else None


def _ends_of_segments(header: tuple[int, ...], start: bytes) -> list[int]:
    places = (header[5] + index * _PROGRAM_HEADER.size for index in range(header[10]))
    segments = [
        _PROGRAM_HEADER.unpack_from(start, place) for place in places if place + _PROGRAM_HEADER.size <= len(start)
    ]
    return [segment[2] + segment[5] for segment in segments]


def _ends_of_sections(table: bytes, section_size: int) -> list[int]:
    if section_size != _SECTION_HEADER.size:
        return []
    sections = _SECTION_HEADER.iter_unpack(table)
    return [section[4] + section[5] for section in sections if section[1] not in (0, _SECTION_WITHOUT_BYTES)]


def _compiled(folder: Path, suffix: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if entry.name.endswith(suffix))
    except (FileNotFoundError, NotADirectoryError):
        return


def broken_files(cache: Path, *, thorough: bool = False) -> list[BrokenFile]:
    """List the files of one cache directory that would crash Jittor.

    Args:
        cache: what `jittor_paths.cache_directory` returned; it need not exist.
        thorough: also look at object files where the core is linked already and they matter to nobody.

    Returns:
        The broken files, sorted by path. A library without its ``.key`` is left out, because Jittor compiles that one
        again; ``jit_utils_core`` is not, because Jittor loads that one before it looks at keys.
    """
    places = [(cache, ".so"), (cache / "jit", ".so"), (cache / "custom_ops", ".so"), (cache / "cuda", ".so")]
    if thorough or not core_is_compiled(cache):
        places += [(cache / "obj_files", ".o"), (cache, ".o")]
    found = []
    for folder, suffix in places:
        for entry in _compiled(folder, suffix):
            try:
                damage = elf_damage(entry.path)
            except OSError as error:
                damage = f"cannot be read ({error.strerror})"
            if damage and (entry.name.startswith(("jit_utils_core", "data.")) or _has_key(entry.path)):
                found.append(BrokenFile(Path(entry.path), damage))
    return sorted(found, key=lambda broken: broken.path)


def core_is_compiled(cache: Path) -> bool:
    """Say whether Jittor's core library is in this cache, so that an import takes seconds and not minutes."""
    return any("jittor_core" in entry.name and _has_key(entry.path) for entry in _compiled(cache, ".so"))


def _has_key(path: str) -> bool:
    try:
        return os.stat(path + ".key").st_size > 0
    except OSError:
        return False


@contextmanager
def _probe_lock(lock: Path) -> Iterator[bool]:
    """Hold Jittor's lock if it is free and say whether it was; without the file there is nobody to wait for."""
    import fcntl

    try:
        handle = open(lock, "r+b")  # noqa: SIM115 - closed below; opening may fail where the block must still run
    except OSError:
        yield True
        return
    with handle:
        try:
            # Jittor's Python side locks with flock and its C++ side with fcntl; on Linux the two do not see each other.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def is_being_compiled(cache: Path) -> bool:
    """Say whether another process holds Jittor's lock on this cache, and so may be writing it."""
    with _probe_lock(cache.parent / "jittor.lock") as free:
        return not free


def writing_problem(cache: Path) -> str | None:
    """Say why Jittor could not write to its cache, or None where it can."""
    place = cache
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return f"{place} is in the way of a directory; move it"
    if not os.access(place, os.W_OK | os.X_OK):
        owner = place.stat().st_uid
        return f"{place} cannot be written (owner: user {owner}); change its owner, or set JITTOR_HOME to another place"
    lock = cache.parent / "jittor.lock"
    if lock.exists() and not os.access(lock, os.W_OK):
        return f"{lock} cannot be written (owner: user {lock.stat().st_uid}); change its owner"
    return None


def check_cache(cache: Path) -> None:
    """Raise where loading this cache would crash or fail.

    Args:
        cache: what `jittor_paths.cache_directory` returned; it need not exist.

    Raises:
        InputError: a library is broken and nobody is at work on it, or the cache cannot be written. The message names
            the first such file and the command that mends it.
    """
    problem = writing_problem(cache)
    if problem:
        raise InputError(f"Jittor's kernel cache cannot be used: {problem}")
    broken = broken_files(cache)
    if broken and not is_being_compiled(cache):
        broken = broken_files(cache)  # the writer may have finished between the two looks
        if broken:
            more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
            raise InputError(
                f"Jittor's kernel cache is damaged: {broken[0]}{more}. Loading it would crash. "
                f"Remove what is broken with: {CLEAN_COMMAND}   (or everything compiled: rm -r '{cache}')"
            )


def clean_cache(cache: Path) -> list[Path]:
    """Remove the broken files of one cache directory, with their keys, so that Jittor compiles them again.

    Args:
        cache: what `jittor_paths.cache_directory` returned; it need not exist.

    Returns:
        What was removed, sorted.

    Raises:
        InputError: another process is compiling into this cache, or a file cannot be removed.
    """
    with _probe_lock(cache.parent / "jittor.lock") as free:
        if not free:
            raise InputError(f"{cache}: another process is compiling into this cache; try again when it has ended")
        removed = []
        for broken in broken_files(cache, thorough=True):
            for path in (broken.path, Path(f"{broken.path}.key")):
                try:
                    path.unlink()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise InputError(f"{path}: cannot be removed ({error.strerror}); remove it by hand") from None
                removed.append(path)
        # data.o has no key of its own: Jittor makes it again when this checksum is gone.
        if cache / "data.o" in removed and (cache / "data.md5").exists():
            (cache / "data.md5").unlink()
            removed.append(cache / "data.md5")
        return sorted(removed)


def remove_cache(cache: Path) -> bool:
    """Remove one cache directory whole; Jittor's core and every kernel in it will be compiled again.

    Args:
        cache: what `jittor_paths.cache_directory` returned; it need not exist.

    Returns:
        False where there was nothing to remove.

    Raises:
        InputError: the path is not that of a cache below Jittor's directory (a ``cache_name`` of ".." could point
            anywhere), another process is compiling into it, or a file cannot be removed.
    """
    root, place = jittor_root().resolve(), cache.resolve()
    if root not in place.parents or len(place.relative_to(root).parts) <= _PARTS_ABOVE_CACHE_NAME:
        raise InputError(f"{cache}: not the kernel cache of one configuration; remove it by hand")
    with _probe_lock(cache.parent / "jittor.lock") as free:
        if not free:
            raise InputError(f"{cache}: another process is compiling into this cache; try again when it has ended")
        if not cache.exists():
            return False
        try:
            shutil.rmtree(cache)
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be removed ({error.strerror}); remove it by hand") from None
        return True
