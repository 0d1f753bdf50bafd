"""Where Jittor keeps its compiled kernels, and whether those files are whole.

Jittor compiles its core and every kernel into ``~/.cache/jittor`` and loads whatever it finds there. A library that was
cut short (a full disk, a power cut, a process killed while linking) is mapped into memory all the same, and the first
touch of a missing page ends the process with a bus error and no word about the cause. The checks here read the first
and last bytes of each file only, so that they can run before every import.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from detr_common.errors import InputError

CLEAN_COMMAND = "python -m parity doctor --clean-cache"

_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
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
        return f"{self.path}: {self.reason}"


def jittor_home() -> Path:
    """Return the directory that holds ``.cache/jittor``, found as Jittor finds it but without writing anything.

    Raises:
        InputError: Jittor's ``config.json`` cannot be read.
    """
    if "JITTOR_HOME" in os.environ:
        return Path(os.environ["JITTOR_HOME"]).absolute()
    config = Path.home() / ".cache" / "jittor" / "config.json"
    try:
        data = json.loads(config.read_text(encoding="utf8"))
        return Path(data.get("JITTOR_HOME", Path.home())).absolute()
    except FileNotFoundError:
        return Path.home()
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{config}: Jittor's settings cannot be read ({error}); remove the file: rm {config}"
        ) from None


def jittor_root() -> Path:
    """Return the directory of everything that Jittor stores (kernels, oneDNN, CUDA)."""
    return jittor_home() / ".cache" / "jittor"


def compiler_path() -> str | None:
    """Return the C++ compiler that Jittor will call, or None where there is none."""
    if "cc_path" in os.environ:
        return os.environ["cc_path"]
    return shutil.which("clang++" if sys.platform == "darwin" else "g++")


def compiler_version(compiler: str) -> str:
    """Return the version that Jittor reads from ``compiler --version``: the first ``x.y.z``, last of those printed.

    Raises:
        InputError: the compiler does not run, or prints no version.
    """
    try:
        text = subprocess.run(
            [compiler, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"{compiler}: the C++ compiler does not run ({error}); install g++ or set cc_path") from None
    versions = re.findall(r"[0-9]+\.[0-9]+\.[0-9]+", text) or re.findall(r"[0-9]+\.[0-9]+", text)
    if not versions:
        raise InputError(f"{compiler}: no version number in the output of --version; install g++ or set cc_path")
    return str(versions[-1])


def _package_file(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin) if spec is not None and spec.origin else None


def _shortened(part: str) -> str:
    kept = "".join(c for c in part if c.isidentifier() or c.isnumeric() or c.isalpha() or c in ".-+")
    return kept if len(kept) <= 14 else kept[:14] + "x" + hashlib.md5(kept.encode()).hexdigest()[:2]


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":")[-1].strip()
    except OSError:
        pass
    return platform.processor()


def cache_directory(cache_name: str) -> Path | None:
    """Return the directory of Jittor's core library for this compiler, Python, system and processor.

    It depends on the versions of Jittor, compiler, Python and kernel, on the host's name and on where Jittor is
    installed, exactly as ``jittor_utils.find_cache_path`` has it; a test compares the two.

    Args:
        cache_name: the last part of the path; Jittor takes it from the variable of that name.

    Returns:
        The path, which need not exist; None where Jittor or the compiler is missing, or on a system (macOS, Windows)
        whose rule this function does not follow.
    """
    utils, core = _package_file("jittor_utils"), _package_file("jittor")
    compiler = compiler_path()
    if not sys.platform.startswith("linux") or utils is None or core is None or not compiler:
        return None
    match = re.search(r"^__version__ *= *'([^']+)'", core.read_text(encoding="utf8"), re.MULTILINE)
    if match is None:
        return None
    name = os.path.basename(compiler)
    kind = next((kind for kind in ("clang", "icc", "icpc", "g++") if kind in name), None)
    if kind is None:
        return None
    system = platform.platform() + platform.node()
    if len(system) > 14:
        system = system[:14] + "x" + hashlib.md5(system.encode()).hexdigest()[:2]
    parts = [
        "jt" + match.group(1).rsplit(".", 1)[0],
        ("icc" if kind == "icpc" else kind) + compiler_version(compiler),
        "py" + platform.python_version(),
        system,
        _processor_name(),
        hashlib.md5(str(utils).encode()).hexdigest()[:4],
    ]
    path = jittor_root().joinpath(*map(_shortened, parts))
    if os.environ.get("debug") == "1":
        path = path.with_name(path.name + "_debug")
    for character in " (){}":
        cache_name = cache_name.replace(character, "_")
    return path / os.path.normpath(cache_name)


def elf_damage(path: Path) -> str | None:
    """Say what is wrong with a compiled library or object file, reading a few hundred bytes of it.

    Args:
        path: an ELF file (``.so`` or ``.o``) of a 64-bit little-endian machine.

    Returns:
        None where the file is whole: every segment and section lies inside the file and the table at its end is filled
        in. Damage inside a section is not seen.

    Raises:
        OSError: the file cannot be opened.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(1024)
        if size == 0:
            return "is empty"
        if start[:4] != b"\x7fELF":
            return "is not a compiled library (no ELF header)"
        if len(start) < _ELF_HEADER.size:
            return f"is cut short ({size} bytes, less than an ELF header)"
        header = _ELF_HEADER.unpack_from(start)
        segments_at, sections_at = header[5], header[6]
        segment_count, section_size, section_count = header[10], header[11], header[12]
        end_of_table = sections_at + section_size * section_count
        if end_of_table > size:
            return f"is cut short ({size} of at least {end_of_table} bytes)"
        needed = 0
        for index in range(segment_count):
            at = segments_at + index * _PROGRAM_HEADER.size
            if at + _PROGRAM_HEADER.size > len(start):
                break
            segment = _PROGRAM_HEADER.unpack_from(start, at)
            needed = max(needed, segment[2] + segment[5])
        if section_count and section_size == _SECTION_HEADER.size:
            file.seek(sections_at)
            table = file.read(section_size * section_count)
            if not any(table):
                return "is filled with zeros towards its end"
            for section in _SECTION_HEADER.iter_unpack(table):
                if section[1] not in (0, _SECTION_WITHOUT_BYTES):
                    needed = max(needed, section[4] + section[5])
        return f"is cut short ({size} of at least {needed} bytes)" if needed > size else None


def _compiled(folder: Path, suffix: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if entry.name.endswith(suffix) and entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return


def broken_files(cache: Path, *, thorough: bool = False) -> list[BrokenFile]:
    """List the files of one cache directory that would crash Jittor.

    Args:
        cache: what `cache_directory` returned; it need not exist.
        thorough: also look at object files, which only matter when the core is linked again.

    Returns:
        The broken files, sorted by path. A library without its ``.key`` is left out, because Jittor compiles that one
        again; ``jit_utils_core`` is not, because Jittor loads that one before it looks at keys.
    """
    places = [(cache, ".so"), (cache / "jit", ".so"), (cache / "custom_ops", ".so"), (cache / "cuda", ".so")]
    if thorough:
        places += [(cache / "obj_files", ".o"), (cache, ".o")]
    found = []
    for folder, suffix in places:
        for entry in _compiled(folder, suffix):
            try:
                damage = elf_damage(Path(entry.path))
            except OSError as error:
                damage = f"cannot be read ({error.strerror})"
            if damage and (entry.name.startswith(("jit_utils_core", "data.")) or _has_key(entry.path)):
                found.append(BrokenFile(Path(entry.path), damage))
    return sorted(found, key=lambda broken: broken.path)


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
        cache: what `cache_directory` returned; it need not exist.

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
        cache: what `cache_directory` returned; it need not exist.

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
