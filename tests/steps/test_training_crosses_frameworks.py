"""A run saved mid-way by one framework and converted goes on in the other on the path of the run that never stopped."""

import argparse
import copy
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from train_small import ARGS, Run

from weight_convert.convert import convert

# Two minutes with kernels compiled, many more without.
pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
STOP, STEPS = 3, 6
# Of the weights, of which the largest are about 1.
BOUND = 1e-9


@pytest.fixture(scope="module")
def runs():
    """Weights and losses after all steps, by the framework that began and the one that went on; Jittor's checkpoint."""
    with tempfile.TemporaryDirectory() as folder:  # a gigabyte, which pytest would keep
        return compute(Path(folder))


def compute(folder):
    run = Run("detr_pt").go_on(STOP)
    torch.save(run.checkpoint(run.model.state_dict()), folder / "torch.pth")
    convert(folder / "torch.pth", folder / "from_torch.pkl")
    result = {"torch": run.go_on(STEPS).weights() | {"losses": run.losses}}
    command = [sys.executable, HERE / "train_small.py", folder, str(STOP), str(STEPS)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    process = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-6000:]
    for name, file in (("jittor", "jittor_whole"), ("torch to jittor", "jittor_went_on")):
        with np.load(folder / f"{file}.npz") as arrays:
            result[name] = dict(arrays)
    convert(folder / "jittor.pkl", folder / "from_jittor.pth")
    with torch.serialization.safe_globals([argparse.Namespace]):
        saved = torch.load(folder / "from_jittor.pth", weights_only=True)
    back = Run("detr_pt", saved).go_on(STEPS)
    result["jittor to torch"] = back.weights() | {"losses": back.losses}
    return result, saved


def distance(left, right):
    names = [name for name in left if name != "losses"]
    assert names == [name for name in right if name != "losses"]
    return max(float(np.abs(left[name] - right[name]).max()) for name in names)


@pytest.mark.parametrize("went_on", ["torch to jittor", "jittor to torch"])
@pytest.mark.parametrize("never_stopped", ["torch", "jittor"])
def test_the_path_is_kept(runs, went_on, never_stopped):
    found, whole = runs[0][went_on], runs[0][never_stopped]
    assert distance(found, whole) < BOUND
    assert len(found["losses"]) == STEPS - STOP
    assert np.abs(np.asarray(found["losses"]) - whole["losses"][STOP:]).max() < BOUND * max(whole["losses"])


def test_the_runs_learn_so_that_a_lost_state_would_show(runs):
    """The weights move by more than ten thousand times the bound after the stop, and the rates drop."""
    results, saved = runs
    losses = results["torch"]["losses"]
    assert losses[-1] < losses[STOP] < losses[0]
    stopped = {name: value.numpy() for name, value in saved["model"].items()}
    assert distance(stopped, results["torch"]) > 1e4 * BOUND
    assert STOP < ARGS.lr_drop < STEPS


@pytest.mark.parametrize("part", ["step", "exp_avg", "exp_avg_sq", "lr", "last_epoch"])
def test_a_lost_part_of_the_state_is_seen(runs, part):
    saved = copy.deepcopy(runs[1])
    if part == "lr":
        saved["optimizer"]["param_groups"][0]["lr"] *= 1.001
    elif part == "last_epoch":
        saved["lr_scheduler"]["last_epoch"] += 1
    else:
        for kept in saved["optimizer"]["state"].values():
            kept[part] = torch.zeros_like(kept[part])
    assert distance(Run("detr_pt", saved).go_on(STEPS).weights(), runs[0]["torch"]) > 100 * BOUND


def test_plain_pytorch_takes_what_jittor_saved(runs):
    """Its own AdamW, without detr_pt's, from a file that torch.load admits by itself."""
    saved = runs[1]
    assert saved["args"] == ARGS and saved["epoch"] == STOP
    entry = saved["optimizer"]["state"][0]
    assert entry["step"].dtype == torch.float32 and entry["step"].shape == ()
    run = Run("detr_pt", saved)
    plain = torch.optim.AdamW([{"params": group["params"]} for group in run.optimizer.param_groups])
    plain.load_state_dict(copy.deepcopy(saved["optimizer"]))  # which it would go on writing to
    run.optim.backward(run.optimizer, run.total_loss())
    run.optim.clip_grad_norm(run.optimizer, ARGS.clip_max_norm)
    plain.step()
    assert distance(run.weights(), Run("detr_pt", saved).go_on(STOP + 1).weights()) == 0
