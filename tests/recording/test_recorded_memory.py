"""Recordings are compared tensor by tensor: the memory that takes depends on the largest tensor, not on the trace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up import make

MIB = 2**20

# Shapes of what ResNet-50's layers put out for two photographs of 224 pixels, the largest ones often.
RESNET = [
    *[(2, 64, 112, 112)] * 3,
    *[(2, 256, 56, 56)] * 24,
    *[(2, 512, 28, 28)] * 32,
    *[(2, 1024, 14, 14)] * 48,
    *[(2, 2048, 7, 7)] * 24,
]


def peak(first: Path, second: Path) -> float:
    """Return the largest memory, in MiB, of a process that compares two recordings and finds them alike."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom parity.recording.replay import compare_recordings\n"
        "assert compare_recordings(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        # Of this process alone: getrusage counts what it was before it began to run Python.
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, first, second], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout)


@pytest.mark.parametrize("backwards", [False, True])
def test_resnet_50_is_compared_in_little_memory(
    backwards: bool, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    used = peak(*make(tmp_path, RESNET, backwards))
    largest = 2 * 64 * 112 * 112 * 8 / MIB
    record_property("figures", f"recordings of ResNet-50 compared at a peak of {used:.0f} MiB, largest {largest:.0f}")
    assert used <= 1.3 * largest + 300


@pytest.mark.slow
def test_two_gigabytes_are_compared_without_being_loaded(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    shapes = [(8, 1024, 1024)] * 32  # 2 GiB in float64 alone, 7 GiB in all five
    used = peak(*make(tmp_path, shapes))
    record_property("figures", f"traces of 2 GiB compared at a peak of {used:.0f} MiB, largest tensor 64")
    # Of a tensor all five runs are held at once, 3.5 times the largest of them, and of each run one more waits.
    assert used <= 2 * 3.5 * 64 + 300
