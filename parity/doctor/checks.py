"""What must be in place on a machine, looked at one by one; nothing is imported or changed in this process."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from detr_common import jittor_cuda
from detr_common.jittor_cache import CLEAN_COMMAND, broken_files, is_being_compiled, writing_problem
from detr_common.jittor_onednn import WHEELS_COMMAND
from detr_common.jittor_paths import compiler_path, compiler_version
from detr_common.jittor_ready import Readiness

Status = Literal["ok", "warning", "broken"]
ROOM_NEEDED = 200 * 2**20  # bytes: the core, and the kernels of one detector in both dtypes
ROOM_WISHED = 2 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        status: "warning" works but slowly, or soon will not.
        found: what was found, in words.
        mend: the command that mends it; empty where nothing is wrong.
    """

    name: str
    status: Status
    found: str
    mend: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a dict for JSON."""
        return asdict(self)


def install_command(debian: str, fedora: str, conda: str) -> str:
    """Return the command of this system's package manager, or all three where it is not known."""
    known = {"apt-get": f"sudo apt-get install {debian}", "dnf": f"sudo dnf install {fedora}"}
    conda_command = f"conda install -c conda-forge {conda}"
    if os.environ.get("CONDA_PREFIX"):
        return conda_command
    for manager, command in known.items():
        if shutil.which(manager):
            return command
    return "  or  ".join([*known.values(), conda_command])


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Check:
    """NumPy below 2, which Jittor needs, was never built for a Python above 3.12."""
    found = f"{platform.python_version()} ({sys.executable})"
    if version > (3, 12):
        return Check(
            "Python", "warning", f"{found}; NumPy below 2 was built for 3.10 to 3.12", "PYTHON=python3.12 make"
        )
    return Check("Python", "ok", found)


def check_headers(readiness: Readiness) -> Check:
    """``Python.h`` must be where Jittor will ask for it."""
    config = readiness.headers.value
    minor = f"3.{sys.version_info.minor}"
    mend = install_command(f"python{minor}-dev", f"python{minor}-devel", f"python={minor}")
    if config == "missing":
        return Check("Python headers", "broken", readiness.headers.reason, mend)
    try:
        flags = subprocess.run(
            [config, "--includes"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Check("Python headers", "broken", f"{config} does not run: {error}", mend)
    places = [flag[2:] for flag in shlex.split(flags) if flag.startswith("-I")]
    for place in places:
        if (Path(place) / "Python.h").is_file():
            return Check("Python headers", "ok", str(Path(place) / "Python.h"))
    return Check("Python headers", "broken", f"Python.h is in none of {', '.join(places)}", mend)


def check_compiler() -> Check:
    """Jittor needs g++; its version is part of the cache's path."""
    compiler = compiler_path()
    if not compiler:
        return Check("g++", "broken", "not found", install_command("g++", "gcc-c++", "gxx"))
    return Check("g++", "ok", f"{compiler_version(compiler)} ({compiler})")


def check_make() -> Check:
    """Make is needed by the project's own commands only."""
    path = shutil.which("make")
    if path is None:
        return Check("make", "warning", "not found", install_command("make", "make", "make"))
    return Check("make", "ok", path)


def check_numpy(readiness: Readiness) -> Check:
    """NumPy must be below 2."""
    version = readiness.numpy.value
    good = version.split(".", 1)[0] in ("0", "1")
    return Check("NumPy", "ok" if good else "broken", version, "" if good else "pip install 'numpy<2'")


def check_openmp() -> Check:
    """Jittor loads g++'s OpenMP library by name."""
    if not sys.platform.startswith("linux"):
        return Check("OpenMP", "ok", "not looked at on this system")
    found = ctypes.util.find_library("gomp")
    if found is None:
        return Check("OpenMP", "broken", "libgomp not found", install_command("libgomp1", "libgomp", "libgomp"))
    return Check("OpenMP", "ok", found)


def check_onednn(readiness: Readiness) -> Check:
    """Without oneDNN Jittor's convolutions are loops."""
    state, reason = readiness.onednn.value, readiness.onednn.reason
    if state == "missing":
        return Check("oneDNN", "warning", reason, WHEELS_COMMAND)
    return Check("oneDNN", "ok", f"{state}: {reason}")


def check_cuda(readiness: Readiness) -> Check:
    """Say which nvcc, runtime and devices there are; a GPU that Jittor cannot use is a warning."""
    gpus = jittor_cuda.visible_gpus()
    parts = [f"{nvcc}: {jittor_cuda.fault_of(nvcc) or 'complete'}" for nvcc in jittor_cuda.candidates()]
    found = f"Jittor: {readiness.nvcc.value} ({readiness.nvcc.reason}); nvcc: {'; '.join(parts) or 'none'}"
    found += f"; GPUs: {', '.join(gpus) or 'none'}"
    if gpus and readiness.nvcc.value != "used":
        return Check("CUDA", "warning", found, "python -m jittor_utils.install_cuda")
    return Check("CUDA", "ok", found)


def check_cache(readiness: Readiness) -> Check:
    """The kernel cache must be writable and hold no broken file."""
    path = readiness.cache_path
    if path is None:
        return Check("Kernel cache", "warning", "its place is not known (no Jittor, no g++, or not Linux)")
    problem = writing_problem(path)
    if problem:
        return Check("Kernel cache", "broken", problem, f'sudo chown -R "$(id -u)" {shlex.quote(str(path))}')
    if is_being_compiled(path):
        return Check("Kernel cache", "ok", f"{path}, another process is compiling into it")
    broken = broken_files(path, thorough=True)
    if broken:
        return Check("Kernel cache", "broken", "; ".join(map(str, broken)), CLEAN_COMMAND)
    if not path.exists():
        return Check("Kernel cache", "ok", f"{path}, empty: the first import compiles for a few minutes")
    return Check("Kernel cache", "ok", str(path))


def check_disk(readiness: Readiness) -> Check:
    """Compiled kernels need room."""
    place = readiness.cache_path or Path.home()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / 2**30:.1f} GiB free at {place}"
    if free < ROOM_WISHED:
        return Check(
            "Disk space", "broken" if free < ROOM_NEEDED else "warning", found, f"df -h {shlex.quote(str(place))}"
        )
    return Check("Disk space", "ok", found)
