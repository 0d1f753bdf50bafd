"""One side of a measurement: ``python -m parity.bench.worker SIDE``; started by ``parity.bench.measure``."""

from __future__ import annotations

import argparse
import os
import resource
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from parity.bench.sides import Package, build
from parity.wire import Disconnected, receive, send


def main() -> None:
    """Answer requests until there are no more."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side")
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--answers", type=int, required=True)
    options = parser.parse_args()
    with os.fdopen(options.requests, "rb", buffering=0) as requests, os.fdopen(options.answers, "wb") as answers:
        try:
            _serve(options.side, requests, answers)
        except (Disconnected, BrokenPipeError):
            return


def _serve(side: str, requests: BinaryIO, answers: BinaryIO) -> None:
    package: Package | None = None
    while True:
        request, _ = receive(requests)
        try:
            if request["do"] == "build":
                package = build(side, request["args"], tuple(request["size"]))
                send(answers, {"answer": None})
            else:
                assert package is not None, "build comes first"
                send(answers, {"answer": answer(package, request["do"])})
        except Exception:
            # Whatever a side raises is for the measuring process to show.
            send(answers, {"failed": traceback.format_exc()})


def answer(package: Package, what: str) -> Any:
    """Return what was asked for.

    Args:
        package: that is measured.
        what: "step" or "forward", seconds; "parts", seconds of each; "memory" or "resident", the peak of the resident
            memory or what is resident now, MiB; or "operations" of a step.
    """
    if what == "memory":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    package.training(what != "forward")
    if what == "parts":
        return package.parts()
    if what == "operations":
        return package.operations()
    package.sync()
    if what == "resident":
        # After waiting: Jittor makes the parameters of a new model only then.
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 2**20
    start = time.perf_counter()
    {"step": package.step, "forward": package.forward}[what]()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
