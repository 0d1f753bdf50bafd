"""A virtual environment for each version of Jittor, with a home of its own for what Jittor compiles."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detr_common.errors import InputError
from detr_common.jittor_onednn import WHEELS_COMMAND
from parity.gotchas.running import Side

# setuptools: old versions import what later ones no longer bring. ml_dtypes is for weight_convert.
_BESIDE = ("numpy<2", "setuptools<81", "ml_dtypes>=0.4,<0.6")
_ONEDNN = tuple(WHEELS_COMMAND.split()[2:])
# All that the lines import besides the two frameworks. Not the folder around them, which may hold packages of this
# environment; nor parity itself, which needs more than the lines do.
_PACKAGES = ("parity/gotchas", "detr_common", "weight_convert")
# What would take Jittor, or Python, out of its environment.
_DROPPED = ("JITTOR_HOME", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "cache_name", "python_config_path")
# Bytes that an environment and its compiled kernels take, and some to spare.
NEEDED = 700 * 2**20
_FULL = 50 * 2**20


@dataclass(frozen=True)
class Place:
    """Where one version lives.

    Attributes:
        version: Jittor's.
        folder: an absolute path; holds the environment, its home, and the record of what was measured.
    """

    version: str
    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def record(self) -> Path:
        """The file of what was measured here."""
        return self.folder / "record.json"

    @property
    def side(self) -> Side:
        """What runs lines with this version."""
        kept = {name: value for name, value in os.environ.items() if name not in _DROPPED}
        own = {
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": str(self.folder / "packages"),
            "PYTHONNOUSERSITE": "1",
            "nvcc_path": "",  # the catalogue is about the CPU
        }
        return Side(str(self.python), kept | own, str(self.folder))


def places(versions: str, folder: Path) -> list[Place]:
    """Read a list of versions as it is given on the command line.

    Raises:
        InputError: it names none, or something that is no version.
    """
    names = list(dict.fromkeys(filter(None, (name.strip() for name in versions.split(",")))))
    if not names:
        raise InputError("--versions: name some versions of Jittor, such as 1.3.10.0,1.3.11.0")
    for name in names:
        if not re.fullmatch(r"\d+(\.\d+)+((a|b|rc|\.post|\.dev)\d+)?", name):
            raise InputError(f"--versions: {name!r} is no version; they look like 1.3.11.0 and are parted by commas")
    return [Place(name, folder.absolute() / name) for name in names]


def check_not_full(place: Place) -> None:
    """Raise where the disk is full, so that what failed may have failed for that.

    Raises:
        InputError: it is full.
    """
    if shutil.disk_usage(place.folder).free < _FULL:
        raise InputError(f"{place.folder}: the disk is full; what was measured with {place.version} is not kept")


def check_space(needed: Sequence[Place]) -> None:
    """Raise where the environments that are still to be made would not fit.

    Raises:
        InputError: with what is needed and what is free.
    """
    missing = [place for place in needed if not _is_installed(place)]
    if not missing:
        return
    folder = missing[0].folder
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < NEEDED * len(missing):
        raise InputError(
            f"{folder}: {len(missing)} environments need {NEEDED * len(missing) / 1e9:.1f} GB and {free / 1e9:.1f} GB "
            "are free; name another --folder or fewer versions"
        )


def install(place: Place) -> str:
    """Make the environment of a version, unless it is there.

    Returns:
        Why the version cannot be installed; nothing where it is.

    Raises:
        InputError: the package index has no such version or cannot be reached, the disk is full, or the folder cannot
            be written.
    """
    try:
        _link_packages(place)
        if _is_installed(place):
            return ""
        output = _make(place)
        if not output:
            _stamp(place).write_text(_wanted(place), encoding="utf-8")
    except OSError as error:
        raise _unwritable(place, error) from error
    return judge_installation(place.version, output) if output else ""


def _make(place: Place) -> str:
    """Return what the step that failed wrote; nothing where none did."""
    venv = place.folder / "venv"
    (place.folder / "home").mkdir(parents=True, exist_ok=True)
    pip = [str(place.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        [*pip, *_wanted(place).split("\n")],
    ):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            return done.stdout.strip() or f"exit code {done.returncode}"
    return ""


def judge_installation(version: str, output: str) -> str:
    """Return why a version cannot be installed, from what pip wrote.

    Raises:
        InputError: there is no such version, or the fault is not the version's.
    """
    errors = [line.partition("ERROR:")[2].strip() for line in output.splitlines() if "ERROR:" in line]
    last = errors[-1] if errors else output.splitlines()[-1].strip()
    if "No space left on device" in output:
        raise InputError(f"Jittor {version} cannot be installed: the disk is full")
    if "ensurepip" in output:
        raise InputError(f"no virtual environment can be made: {last}; on Debian and Ubuntu install python3-venv")
    if listed := re.search(rf"requirement jittor=={re.escape(version)} \(from versions: ([^)]*)\)", output):
        known = [name for name in listed[1].split(", ") if name != "none"]
        if known:
            raise InputError(f"the package index has no Jittor {version}; the latest it has: {', '.join(known[-8:])}")
        raise InputError(f"the package index has no Jittor at all, or cannot be reached: {last}")
    if re.search(r"Could not fetch URL|ConnectionError|NewConnectionError|Temporary failure in name", output):
        raise InputError(f"the package index cannot be reached: {last}")
    return without_paths(last)


def without_paths(text: str) -> str:
    """Return a message without the paths of this machine, of which only the last part is kept."""
    return re.sub(r"(?<![\w.])/(?:[^\s'\":;,()/]+/)+", "", text)


def _link_packages(place: Place) -> None:
    root = Path(__file__).resolve().parents[2]
    for name in _PACKAGES:
        link = place.folder / "packages" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            link.unlink()
        link.symlink_to(root / name)


def _wanted(place: Place) -> str:
    onednn = _ONEDNN if sys.platform == "linux" and platform.machine() == "x86_64" else ()
    return "\n".join((f"jittor=={place.version}", *_BESIDE, *onednn))


def _stamp(place: Place) -> Path:
    return place.folder / "venv" / ".installed"


def _is_installed(place: Place) -> bool:
    return (
        place.python.exists()
        and _stamp(place).is_file()
        and _stamp(place).read_text(encoding="utf-8") == _wanted(place)
    )


def _unwritable(place: Place, error: OSError) -> InputError:
    return InputError(f"{error.filename or place.folder}: cannot be written: {error.strerror}")
