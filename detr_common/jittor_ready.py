"""Making ``import jittor`` work without environment variables.

``import detr_jt`` calls `ready` before it imports Jittor. Each decision can be seen with ``python -m parity doctor``.
Each yields to a variable that the user has set: ``nvcc_path``, ``use_mkl``, ``log_silent``, ``cache_name``,
``python_config_path``, ``FIX_TORCH_ERROR``.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from detr_common import jittor_cuda, jittor_onednn
from detr_common.errors import InputError
from detr_common.jittor_cache import check_cache, core_is_compiled
from detr_common.jittor_paths import cache_directory, jittor_root

CACHE_NAME = "parity"


@dataclass(frozen=True)
class Decision:
    """One thing that was decided, and why.

    Attributes:
        value: what was decided, in a word or two.
        reason: why, in words.
    """

    value: str
    reason: str


@dataclass(frozen=True)
class Readiness:
    """All that was decided for this process.

    Attributes:
        nvcc: whether Jittor is built for CUDA.
        onednn: where the matrix products and convolutions of the CPU come from.
        torch: whether ``import jittor`` imports PyTorch as well.
        logs: whether Jittor's messages are shown.
        headers: where Jittor asks for the headers of Python.
        cache: the name of the kernel cache.
        numpy: the version of NumPy, which must be below 2.
        cache_path: the directory of the kernel cache; None where it cannot be known (Jittor or g++ is missing).
        environment: the variables that were, or would be, set for Jittor.
        already_imported: Jittor had been imported before; nothing of this took effect.
    """

    nvcc: Decision
    onednn: Decision
    torch: Decision
    logs: Decision
    headers: Decision
    cache: Decision
    numpy: Decision
    cache_path: Path | None
    environment: dict[str, str]
    already_imported: bool

    @property
    def decisions(self) -> dict[str, Decision]:
        """The decisions by name, in the order in which they are shown."""
        names = ("nvcc", "onednn", "torch", "logs", "headers", "cache", "numpy")
        return {name: getattr(self, name) for name in names}


def _decide_logs() -> tuple[Decision, dict[str, str]]:
    if "log_silent" in os.environ:
        return Decision(f"log_silent={os.environ['log_silent']}", "set by you"), {}
    return Decision("quiet", "set log_silent=0 to see Jittor's messages"), {"log_silent": "1"}


def _decide_torch() -> tuple[Decision, dict[str, str]]:
    if "FIX_TORCH_ERROR" in os.environ:
        return Decision(f"FIX_TORCH_ERROR={os.environ['FIX_TORCH_ERROR']}", "set by you"), {}
    # Where PyTorch is installed, Jittor imports it too: seconds and half a gigabyte for a process that never calls it.
    return Decision("left out", "set FIX_TORCH_ERROR=1 to let Jittor import PyTorch first"), {"FIX_TORCH_ERROR": "0"}


def _decide_cache_name() -> tuple[Decision, dict[str, str]]:
    if "cache_name" in os.environ:
        return Decision(os.environ["cache_name"], "cache_name was set by you"), {}
    # Jittor would ask git: an environment inside a checkout would be compiled anew for each branch.
    # Of its own, since kernels are compiled by other commands here (jittor_headers): in one cache with plain Jittor's
    # each would replace the other's.
    return Decision(CACHE_NAME, "one cache for every branch of the checkout around the environment"), {
        "cache_name": CACHE_NAME
    }


def _decide_headers() -> tuple[Decision, dict[str, str]]:
    if "python_config_path" in os.environ:
        return Decision(os.environ["python_config_path"], "python_config_path was set by you"), {}
    minor = f"python3.{sys.version_info.minor}-config"
    beside = Path(sys.executable).parent
    for path in (
        str(beside / minor),
        sys.executable + "-config",
        f"/usr/bin/{minor}",
        f"/usr/local/bin/{minor}",
        str(beside / "python3-config"),
    ):
        if os.path.isfile(path):
            return Decision(path, "found by Jittor itself"), {}
    own = os.path.join(sys.base_prefix, "bin", minor)
    if os.path.isfile(own):
        return Decision(own, "that of the interpreter that made this environment"), {"python_config_path": own}
    return Decision("missing", f"no {minor}; install the headers of Python 3.{sys.version_info.minor}"), {}


def _major(version: str) -> int:
    digits = version.split(".", 1)[0]
    return int(digits) if digits.isdigit() else 0


def _decide_numpy() -> Decision:
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        return Decision("missing", "install it with: pip install 'numpy<2'")
    if _major(version) >= 2:
        return Decision(version, "Jittor returns garbage with NumPy 2. Mend: pip install 'numpy<2'")
    return Decision(version, "below 2, as Jittor needs")


def _decide(onednn: jittor_onednn.OneDnn | None) -> tuple[Readiness, jittor_onednn.OneDnn]:
    root = jittor_root()
    cuda = jittor_cuda.plan(root)
    onednn = onednn or jittor_onednn.plan(root)
    torch, torch_variables = _decide_torch()
    logs, log_variables = _decide_logs()
    headers, header_variables = _decide_headers()
    cache, cache_variables = _decide_cache_name()
    environment = torch_variables | log_variables | header_variables | cache_variables
    if cuda.nvcc is not None:
        environment["nvcc_path"] = cuda.nvcc
    if onednn.state == "missing":
        environment["use_mkl"] = "0"
    readiness = Readiness(
        nvcc=Decision("used" if cuda.used else "disabled" if cuda.nvcc == "" else "not used", cuda.reason),
        onednn=Decision(onednn.state, onednn.reason),
        torch=torch,
        logs=logs,
        headers=headers,
        cache=cache,
        numpy=_decide_numpy(),
        cache_path=cache_directory(cache.value),
        environment=environment,
        already_imported="jittor" in sys.modules or "jittor_utils" in sys.modules,
    )
    return readiness, onednn


def decide() -> Readiness:
    """Decide as `ready` does, without changing anything.

    Raises:
        InputError: Jittor's settings or the compiler's version cannot be read.
    """
    return _decide(None)[0]


@functools.cache
def ready() -> Readiness:
    """Prepare this process for ``import jittor``; call it before that import. Calling it again costs nothing.

    It sets variables of this process's environment (children inherit them) and may link oneDNN into Jittor's directory.
    Where the import will compile Jittor's core first, it says so on standard error.
    A variable that the user has set is left as it is. Where Jittor has been imported before, nothing is changed and
    `Readiness.already_imported` says so.

    Returns:
        What was decided.

    Raises:
        InputError: NumPy 2 is installed; the kernel cache is damaged or cannot be written; Jittor's settings or the
            compiler's version cannot be read. Each message names the command that mends it.
    """
    readiness, onednn = _decide(None)
    if readiness.already_imported:
        return readiness
    if _major(readiness.numpy.value) >= 2:
        raise InputError(f"NumPy {readiness.numpy.value} is installed. {readiness.numpy.reason}")
    if readiness.cache_path is not None:
        check_cache(readiness.cache_path)
    done = jittor_onednn.apply(onednn)
    if done != onednn:
        readiness, _ = _decide(done)
    os.environ.update(readiness.environment)
    if readiness.cache_path is not None and not core_is_compiled(readiness.cache_path):
        # Jittor is told to be quiet, and minutes of silence look like a hang.
        print("Jittor compiles its core: a few minutes, once.", file=sys.stderr, flush=True)
    return readiness


@contextmanager
def preserving_random_state() -> Iterator[None]:
    """Give Python's and NumPy's global generators back as they were; ``import jittor`` seeds both from the clock."""
    import numpy as np

    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def compile_core() -> int:
    """Have Jittor compile its core in a process of its own if that was not done yet.

    Returns:
        0 where the core is compiled; 1 where Jittor cannot be imported.

    Raises:
        InputError: as `ready`.
    """
    path = ready().cache_path
    if path is not None and core_is_compiled(path):
        return 0
    code = subprocess.run([sys.executable, "-c", "import jittor"], stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        print("error: Jittor cannot be imported; to find out why: python -m parity doctor", file=sys.stderr)
    return 1 if code else 0


if __name__ == "__main__":
    # The set-up starts this beside other work, where a shell has it and all that it starts ignore an interruption.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(compile_core())
    except KeyboardInterrupt:
        sys.exit(130)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
