"""How long a conversion takes beside copying the file, and how much memory: the figures of --bench."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from weight_convert.convert import convert
from weight_convert.errors import CheckpointError
from weight_convert.files import import_frameworks

_ROUNDS = 5


@dataclass(frozen=True)
class Figures:
    """The fastest of some conversions and of as many copies, in turns: other programs can only add to a time."""

    seconds: float
    copy_seconds: float  # copying the source and syncing it
    file_bytes: int
    peak_bytes: int | None  # above what the process held after its imports; None where Linux's /proc is missing

    @property
    def ratio(self) -> float:
        """Conversion time in copies."""
        return self.seconds / self.copy_seconds

    @property
    def memory_ratio(self) -> float | None:
        """Peak memory in sizes of the source."""
        return None if self.peak_bytes is None else self.peak_bytes / self.file_bytes


def measure(source: Path, destination: Path, rounds: int = _ROUNDS) -> Figures:
    """Convert ``source`` repeatedly to temporary files beside ``destination``, in a process of its own.

    Args:
        source: the file to convert.
        destination: beside which the temporary files are; its suffix decides the format.
        rounds: how often, at least once.

    Raises:
        CheckpointError: that process failed.
    """
    command = [sys.executable, "-m", "weight_convert.measure", os.fspath(source), os.fspath(destination), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise CheckpointError(f"{source}: could not be measured: {last[0]}")
    return Figures(**json.loads(done.stdout))


def describe(figures: Figures) -> str:
    """The figures in one line."""
    memory = figures.memory_ratio
    return (
        f"bench: {figures.seconds:.3f} s, copying and syncing {figures.copy_seconds:.3f} s, ratio {figures.ratio:.2f}; "
        + ("peak memory unknown" if memory is None else f"peak memory {memory:.2f} times the file")
    )


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def _timed_copy(source: Path, copy: Path) -> float:
    start = time.perf_counter()
    shutil.copyfile(source, copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - start


def _child(source: Path, destination: Path, rounds: int) -> Figures:
    import_frameworks(source, destination)
    before = _status("VmRSS")
    with tempfile.TemporaryDirectory(prefix=".bench.", dir=destination.parent) as folder:
        written = Path(folder) / f"converted{destination.suffix}"
        copied = Path(folder) / "copy"
        first = convert(source, written)
        peak = _status("VmHWM")
        conversions, copies = [first.seconds], [_timed_copy(source, copied)]
        for _ in range(rounds - 1):
            written.unlink()
            copied.unlink()
            conversions.append(convert(source, written).seconds)
            copies.append(_timed_copy(source, copied))
    return Figures(
        seconds=min(conversions),
        copy_seconds=min(copies),
        file_bytes=source.stat().st_size,
        peak_bytes=None if peak is None or before is None else peak - before,
    )


if __name__ == "__main__":
    print(json.dumps(_child(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])).__dict__))
