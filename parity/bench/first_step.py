"""The first steps of detr_jt, with no kernels compiled; started by ``parity.bench.cold`` in a process of its own."""

from __future__ import annotations

import json
import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any


def first_steps(args: dict[str, Any], size: tuple[int, int]) -> dict[str, float]:
    """Import the package, build the detector and take two steps of training.

    Args:
        args: options of the detector and its training.
        size: height and width of the images in pixels.

    Returns:
        Seconds of ``import``, ``build``, ``first`` and ``second``; how many kernels were compiled until the detector
        was built, ``kernels_of_build``, and until the end of the first step, ``kernels``; and ``compilers``, the
        seconds of processor time that compilers took from building to the end of the first step.
    """
    found: dict[str, float] = {}
    start = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal start
        found[name] = time.perf_counter() - start
        start = time.perf_counter()

    import_module("detr_jt")
    lap("import")
    before = _compilers()
    kernels = Path(import_module("jittor").flags.cache_path) / "jit"
    from parity.bench.sides import build

    package = build("detr_jt", args, size)
    package.training(True)
    package.sync()
    lap("build")
    found["kernels_of_build"] = _count(kernels)
    package.step()
    lap("first")
    found["kernels"], found["compilers"] = _count(kernels), _compilers() - before
    package.step()
    lap("second")
    return found


def _count(kernels: Path) -> int:
    return sum(1 for _ in kernels.glob("*.so"))


def _compilers() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure what the command line describes, and print it as the last line, in JSON."""
    request = json.loads(sys.argv[1])
    print(json.dumps(first_steps(request["args"], tuple(request["size"]))))


if __name__ == "__main__":
    main()
