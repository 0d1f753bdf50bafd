"""Where Jittor keeps what it compiles, found as Jittor finds it but without running or writing anything of it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from detr_common.errors import InputError


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
