"""Scripts that compute in a process of their own, from arrays in a file to arrays in another."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

CASES = "cases.npz"
RUN = """
import sys, numpy as np
cases = dict(np.load(sys.argv[1]))
{script}
np.savez(sys.argv[2], **outputs)
"""
# Readies Jittor with the project's header of oneDNN.
JITTOR = """
from detr_common.jittor_ready import ready
ready()
import jittor as jt
from detr_common import jittor_convolution, jittor_headers
jittor_headers.use(jt)
assert jittor_convolution.use(jt), "not used"
"""


def outputs_of(script: str, folder: Path, threads: int = 1) -> dict[str, np.ndarray]:
    """Run a script that makes ``outputs`` of the folder's ``cases``, and return them."""
    out = folder / "out.npz"
    run = subprocess.run(
        [sys.executable, "-c", RUN.format(script=script), folder / CASES, out],
        env=os.environ | {"HOME": os.environ["REAL_HOME"], "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return dict(np.load(out))
