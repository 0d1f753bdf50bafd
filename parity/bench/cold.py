"""What compiling kernels costs: the first step of detr_jt with the core of Jittor compiled but none of its kernels.

It is taken in a home directory of its own, into which the core is copied, so that the kernels of the user stay as they
are. Jittor compares the command by which a file was made with the one by which it would make it, and both name the
place; so the place is replaced in what it noted, and what it compiles all the same, it compiles before the clock runs.
"""

from __future__ import annotations

import json
import os
import shutil
import site
import tempfile
from pathlib import Path
from typing import Any

from detr_common import jittor_cuda
from detr_common.errors import InputError
from detr_common.jittor_cache import check_cache
from detr_common.jittor_paths import jittor_root
from detr_common.jittor_ready import decide
from parity.bench.child import run_python
from parity.bench.figures import Cost, Figure, Job, Measurement, Progress
from parity.process import WorkerError

# Of a kernel cache; beside them are kernels, headers compiled for kernels, and what was downloaded.
_CORE = ("obj_files", "gen", "custom_ops")
_IMPORT = "from detr_common.jittor_ready import ready; ready(); import jittor"


def compilation(job: Job) -> Measurement:
    """Prepare to measure the first step of training without kernels, once.

    Raises:
        InputError: Jittor or its compiler is missing, its cache is damaged, or ``--device cuda`` is given.
    """
    if job.training.device != "cpu":
        raise InputError(f"--also compilation: measures kernels for the CPU; leave --device {job.training.device} out")
    cache = decide().cache_path
    if cache is None:
        raise InputError("--also compilation: Jittor or g++ is missing; python -m parity doctor tells which")
    check_cache(cache)

    def measure(progress: Progress) -> Cost:
        # What a compiler that was stopped leaves behind may still be written while the folder is removed.
        with tempfile.TemporaryDirectory(prefix="parity-cold-", ignore_cleanup_errors=True) as folder:
            progress("compilation: the core in a cache of its own")
            copied = copy_core(cache, jittor_root(), Path(folder))
            environment = spare_environment(Path(folder), job.threads)
            run_python("compilation", ["-c", _IMPORT], environment)
            before = _libraries(copied)
            progress("compilation: the first step, without kernels")
            request = json.dumps({"args": vars(job.training), "size": job.size})
            said = run_python("compilation", ["-m", "parity.bench.first_step", request], environment)
            if _libraries(copied) != before:
                raise WorkerError("compilation: Jittor compiled its core again while the first step was measured")
            return _cost(json.loads(said.splitlines()[-1]), job)

    return measure


def copy_core(cache: Path, root: Path, home: Path) -> Path:
    """Copy Jittor's core and oneDNN, but no kernels, into another home directory.

    Args:
        cache: the kernel cache to copy from; it need not exist.
        root: Jittor's directory, in which it lies; nothing in it is written.
        home: where ``.cache/jittor`` is made.

    Returns:
        The new kernel cache.
    """
    spare = home / ".cache" / "jittor"
    new = spare / cache.relative_to(root)
    new.mkdir(parents=True)
    for name in _CORE:
        if (cache / name).is_dir():
            shutil.copytree(cache / name, new / name)
    for file in cache.glob("*"):
        if file.is_file():
            shutil.copy2(file, new)
    if (root / "mkl").is_dir():
        shutil.copytree(root / "mkl", spare / "mkl", symlinks=True)
    for key in new.rglob("*.key"):
        key.write_bytes(key.read_bytes().replace(os.fsencode(root), os.fsencode(spare)))
    return new


def spare_environment(home: Path, threads: int) -> dict[str, str]:
    """Return the variables of a process whose Jittor keeps its kernels below ``home``."""
    environment = {name: value for name, value in os.environ.items() if name != "JITTOR_HOME"}
    # Packages may be installed in the home directory that the process is about to lose.
    environment.setdefault("PYTHONUSERBASE", site.getuserbase())
    if jittor_cuda.plan(jittor_root()).used:
        environment["nvcc_path"] = ""
    return environment | {"HOME": str(home), "OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "10000"}


def _libraries(cache: Path) -> dict[Path, tuple[int, int]]:
    files = [*cache.glob("*.so"), *cache.glob("custom_ops/*.so")]
    return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in files}


def _cost(found: dict[str, Any], job: Job) -> Cost:
    return Cost(
        "compilation",
        f"a step of training at {job.size[0]}x{job.size[1]}, {job.training.batch_size} images, once, with the core of "
        f"Jittor but no kernels, on {len(os.sched_getaffinity(0))} processors",
        {
            "import, with the headers of all kernels": Figure(found["import"], "s"),
            "building the detector": Figure(found["build"], "s"),
            "kernels of building": Figure(found["kernels_of_build"], "kernels"),
            "first step": Figure(found["first"], "s"),
            "kernels of the first step": Figure(found["kernels"] - found["kernels_of_build"], "kernels"),
            "second step": Figure(found["second"], "s"),
            "processor time of the compilers in both": Figure(found["compilers"], "s"),
        },
    )
