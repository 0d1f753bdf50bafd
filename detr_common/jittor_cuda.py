"""Deciding whether Jittor's CUDA half can be built here, before Jittor tries and fails.

Jittor builds for CUDA as soon as it sees an ``nvcc``. Its import then fails where the CUDA runtime, cuDNN or one of the
other libraries is not where it looks, and it downloads a whole CUDA toolkit where there is a driver but no ``nvcc``.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from detr_common.jittor_cache import elf_damage

_USUAL_PLACES = ("/usr/local/cuda/bin/nvcc", "/usr/bin/nvcc", "/opt/cuda/bin/nvcc")
_LIBRARIES = ("cublas", "cudnn", "curand", "cufft", "cusparse")
_CUDNN_PARTS = ("cudnn_ops_infer", "cudnn_ops_train", "cudnn_cnn_infer", "cudnn_cnn_train")


@dataclass(frozen=True)
class Cuda:
    """Whether Jittor will be built for CUDA.

    Attributes:
        used: True where Jittor will use the compiler of `nvcc`.
        nvcc: the value for Jittor's ``nvcc_path`` variable; None leaves Jittor's own choice as it is.
        reason: why, in words.
    """

    used: bool
    nvcc: str | None
    reason: str


def visible_gpus() -> list[str]:
    """List the NVIDIA devices that this process may see, by their device files; no driver is loaded.

    Returns:
        Paths, empty where ``CUDA_VISIBLE_DEVICES`` hides every device.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "NoDevFiles"):
        return []
    return sorted(glob.glob("/dev/nvidia[0-9]*") + glob.glob("/proc/driver/nvidia/gpus/*") + glob.glob("/dev/dxg"))


def candidates() -> list[str]:
    """List the executable ``nvcc`` files in the order in which Jittor looks for them."""
    found = [shutil.which("nvcc"), *(place for place in _USUAL_PLACES if os.access(place, os.X_OK))]
    return list(dict.fromkeys(path for path in found if path))


def fault_of(nvcc: str) -> str | None:
    """Say why Jittor could not be built with this compiler, or None where all it needs is in place.

    Args:
        nvcc: path of the compiler.
    """
    binaries = Path(nvcc).resolve().parent
    libraries = binaries.parent / "lib64"
    triple = "x86_64" if platform.machine() in ("x86_64", "AMD64") else "aarch64"
    if nvcc == "/usr/bin/nvcc":
        libraries = Path("/usr/lib/x86_64-linux-gnu")
    runtime = libraries / "libcudart.so"
    try:
        damage = elf_damage(runtime)
    except OSError as error:
        return f"the CUDA runtime {runtime} cannot be loaded ({error.strerror})"
    if damage:
        return f"the CUDA runtime {runtime} {damage}"
    release = _release(binaries.parent)
    if release >= 13:
        return f"CUDA {release}: Jittor's own CUDA sources compile with CUDA 11 and 12; name such an nvcc in nvcc_path"
    target = binaries.parent / "targets" / f"{triple}-linux"
    places = [binaries, libraries, target / "lib", Path(f"/usr/lib/{triple}-linux-gnu"), Path("/usr/lib")]
    headers = [binaries.parent / "include", target / "include", Path("/usr/include")]
    for name in _LIBRARIES:
        if not any((place / f"{name}.h").is_file() for place in headers):
            return f"{name}.h is in none of {', '.join(map(str, headers))}"
    for name in (*_LIBRARIES, *_CUDNN_PARTS):
        # Jittor also takes the ".so.8" of cuDNN beside CUDA 11.
        if not any(glob.glob(f"{glob.escape(str(place))}/lib{name}.so*") for place in places):
            return f"lib{name}.so is in none of {', '.join(map(str, places))}"
    return None


def _release(toolkit: Path) -> int:
    """Return the major version of a toolkit by its headers, 0 where they do not tell."""
    for folder in ("include", f"targets/{platform.machine()}-linux/include"):
        with suppress(OSError, UnicodeDecodeError):
            found = re.search(r"#define CUDART_VERSION\s+(\d+)", (toolkit / folder / "cuda_runtime_api.h").read_text())
            if found:
                return int(found[1]) // 1000
    return 0


def plan(root: Path) -> Cuda:
    """Decide whether Jittor shall be built for CUDA, without running or loading anything.

    Args:
        root: Jittor's directory, ``.cache/jittor`` of its home.
    """
    if "nvcc_path" in os.environ:
        own = os.environ["nvcc_path"]
        return Cuda(bool(own), None, f"nvcc_path={own!r} was set by you")
    found = candidates()
    fetched = glob.glob(f"{glob.escape(str(root))}/jtcuda/*/bin/nvcc")
    gpus = visible_gpus()
    if not gpus:
        if not found and not fetched and shutil.which("nvidia-smi") is None:
            return Cuda(False, None, "no nvcc and no GPU")
        return Cuda(False, "", "no GPU is visible to this process")
    if fetched:
        return Cuda(True, None, f"{fetched[0]}, fetched by jittor_utils.install_cuda")
    faults = []
    for nvcc in found:
        fault = fault_of(nvcc)
        if fault is None:
            return Cuda(True, None if nvcc == found[0] else nvcc, f"{nvcc}, {gpus[0]}")
        faults.append(f"{nvcc}: {fault}")
    if faults:
        return Cuda(False, "", "; ".join(faults))
    return Cuda(False, "", "a GPU but no nvcc; to get one: python -m jittor_utils.install_cuda")
