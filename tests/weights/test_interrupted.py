"""A conversion that is stopped from outside, and destinations that are links."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from weight_convert import read, write

# Stands still when everything is written and before the destination is touched.
STANDS_STILL = """
import os, runpy, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs a job behind has it ignored
def stand_still(descriptor):
    print("written", flush=True)
    time.sleep(60)
os.fsync = stand_still
runpy.run_module("weight_convert", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_stopped_while_writing(tmp_path, number, code):
    """The old file stays whole; except after SIGKILL, which nothing can answer, no other file is left."""
    source, folder = tmp_path / "a.pkl", tmp_path / "out"
    folder.mkdir()
    destination = folder / "b.pkl"
    destination.write_bytes(b"the only copy")
    write({"w": np.ones(1 << 16)}, source)
    command = [sys.executable, "-c", STANDS_STILL, str(source), str(destination), "--force"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"written\n"
        assert len(list(folder.iterdir())) == 2
        process.send_signal(number)
        assert process.wait(30) == code
    assert destination.read_bytes() == b"the only copy"
    assert list(folder.iterdir()) == [destination] or number == signal.SIGKILL


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    kept, link = tmp_path / "disk" / "a.pkl", tmp_path / "latest.pkl"
    kept.write_bytes(b"old")
    os.symlink("disk/a.pkl", link)
    write({"w": np.ones(2)}, link)
    assert link.is_symlink() and os.readlink(link) == "disk/a.pkl"
    assert read(kept)["w"].tolist() == [1, 1]
