"""What Jittor has computed portion by portion is what it computes at once; and a pass leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import numpy as np

BEGIN = """
import sys
from pathlib import Path
import numpy as np
from detr_common.options import default_args
from parity.choices import WANTED
from parity.demo import write_seeded_checkpoint
from parity.ladder import training_batch
from parity.mutants.kills import SMALL
from parity.worker import load_adapter

folder = Path(sys.argv[1])
args = default_args(**SMALL, dtype="float64", device="cpu")
weights = folder / "seeded.pkl"
adapter = load_adapter(sys.argv[2], "detr")
if not weights.exists():
    write_seeded_checkpoint(args, weights)
adapter.build(args, weights, 0)
batch = adapter.feed(training_batch((64, 64)).arrays())
"""
CHOOSE = """
with adapter.arithmetic():
    choices = adapter.training.choose(batch)
np.savez(folder / "choices.npz", **{name: array for name, array in choices.items() if name.startswith(WANTED)})
"""
FOLLOW = """
from parity.frameworks import jittor_training

given = dict(np.load(folder / "choices.npz"))
sync = jittor_training.jt.sync
for portion in (2**28, 2**15):
    found, calls = [], []
    jittor_training.PART_BYTES = portion
    jittor_training.jt.sync = lambda *args, **kwargs: (calls.append(args), sync(*args, **kwargs))
    with adapter.arithmetic():
        adapter.training.gradients(batch, given, True, found.append)
    arrays = {str(number): np.array(entry.array) for number, entry in enumerate(found)}
    names = np.array([f"{entry.name} {entry.owner} {entry.caller} {entry.repeats}" for entry in found])
    np.savez(folder / f"{portion}.npz", names=names, calls=np.array(len(calls)), **arrays)
"""
LEAVE = """
import gc
import torch

def tensors():
    gc.collect()
    return sum(isinstance(one, torch.Tensor) for one in gc.get_objects())

counts = []
with adapter.arithmetic():
    choices = adapter.training.choose(batch)
    for _ in range(3):
        adapter.training.gradients(batch, choices, True, lambda entry: None)
        counts.append(tensors())
np.savez(folder / "counts.npz", counts=counts)
"""


def run(framework: str, script: str, folder: Path) -> None:
    command = [sys.executable, "-c", BEGIN + script, folder, framework]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_gradients_of_many_portions_are_those_of_one(tmp_path: Path) -> None:
    run("torch", CHOOSE, tmp_path)
    run("jittor", FOLLOW, tmp_path)
    whole, parts = (np.load(tmp_path / f"{portion}.npz") for portion in (2**28, 2**15))
    assert parts["calls"] > 5 * whole["calls"]
    assert len(whole["names"]) > 100
    assert parts["names"].tolist() == whole["names"].tolist()
    for number, name in enumerate(whole["names"]):
        one, other = whole[str(number)], parts[str(number)]
        assert one.dtype == other.dtype and one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12 * np.abs(one).max(initial=1e-3), err_msg=name)


def test_gradients_leave_no_tensor_behind(tmp_path: Path) -> None:
    # PyTorch's hooks have tensors whose graphs have the hooks, and no collector of Python sees the whole ring.
    run("torch", LEAVE, tmp_path)
    counts = np.load(tmp_path / "counts.npz")["counts"]
    assert counts[0] > 100
    assert counts[0] == counts[1] == counts[2]
