"""The readers on damaged and hostile files by the thousand; `fuzz_readers.py` says what is tried and watched."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("fuzz_readers.py")


def run(count, seed):
    command = [sys.executable, str(PROGRAM), "--count", str(count), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    counts = {
        what: int(number.replace(",", "")) for number, what in re.findall(r"^ *([\d,]+)  (\S.*)$", done.stdout, re.M)
    }
    for how in ("numpy", "torch", "state dict"):
        assert counts.get(f"{how}: read", 0) + counts.get(f"{how}: refused", 0) == count, done.stdout
        # Inputs that are all refused at their first byte would find nothing.
        assert counts[f"{how}: read"] > count / 50
    assert done.returncode == 0 and "\n0 findings" in done.stdout, done.stdout + done.stderr
    return counts


def test_two_thousand_inputs(record_property):
    record_property("figures", f"readers of checkpoints: {run(2000, 1)}")


@pytest.mark.slow
def test_a_hundred_thousand_inputs(record_property):
    record_property("figures", f"readers of checkpoints: {run(100_000, 0)}")


def test_the_watch_sees_what_runs(tmp_path):
    (tmp_path / "input").write_bytes(b"")
    lines = ["os.system('true')", "eval('1')", "import colorsys", "open(sys.argv[2], 'a')", "open('/dev/null')"]
    for line in lines:
        code = (
            "import os, sys\nsys.path.insert(0, sys.argv[1])\nfrom fuzz_readers import Ran, Watch\n"
            f"watch = Watch([sys.argv[2]])\nwith watch():\n    open(sys.argv[2]).close()\n"
            f"try:\n    with watch():\n        {line}\nexcept Ran:\n    sys.exit(7)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(PROGRAM.parent), str(tmp_path / "input")])
        assert done.returncode == 7, line
