"""``parity bench``: what it measures is a step of training, of every side, and the plain side is the same detector."""

import json
import subprocess
import sys
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from detr_common.options import training_args
from parity.bench.cli import print_cases
from parity.bench.measure import Case
from parity.bench.sides import MODULES, SIDES, build

SMALL = {"backbone": "resnet18", "enc_layers": 1, "dec_layers": 2, "hidden_dim": 64, "nheads": 4, "num_queries": 12}
OPTIONS = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
PARTS = {*MODULES, "losses", "rest of forward", "backward", "clip", "update"}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    few = ["--sizes", "64x96", "--rounds", "3", "--threads", "1"]
    command = [sys.executable, "-m", "parity", "bench", *few, *OPTIONS, *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)


def test_all_sides_in_turns() -> None:
    run = bench("--json", "--batch_size", "1")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["batch_size"] == 1 and report["rounds"] == 3 and report["threads"] == 1
    assert [case["side"] for case in report["cases"]] == list(SIDES)
    for case in report["cases"]:
        assert case["size"] == [64, 96]
        assert len(case["step"]) == len(case["forward"]) == 3
        assert set(case["parts"]) == PARTS
        assert all(seconds > 0 for seconds in case["parts"].values())
        # The parts are waited for one by one, so they are a little more than the whole, and never much less.
        assert sum(case["parts"].values()) > 0.4 * case["median_step"] > 0.4 * case["median_forward"]
        assert 100 < case["peak"] < 4000 and case["first"] > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sizes", "12"], "at least 32 pixels"),
        (["--sizes", "64x"], "a size is N or HxW"),
        (["--sides", "detr_tf"], "there is no 'detr_tf'; did you mean detr_pt"),
        (["--backbone", "resnet7"], "resnet7"),
        (["--rouns", "3"], "no such option: --rouns; did you mean --rounds"),
    ],
)
def test_wrong_use_is_one_line(bench_here: Any, arguments: list[str], told: str) -> None:
    run = bench_here("--sizes", "64x96", "--rounds", "3", *OPTIONS, *arguments)
    assert run.returncode == 2 and told in run.stderr, run.stderr
    assert "Traceback" not in run.stderr


def renamed(key: str) -> str:
    return key.replace("self_attn.", "self_attn.inner.").replace("multihead_attn.", "multihead_attn.inner.")


def test_the_table_shows_how_far_apart_the_rounds_are() -> None:
    sides = {"detr_pt": [0.5, 0.4, 0.7], "detr_jt": [0.45, 0.5, 0.46]}
    cases = [Case(side, (64, 96), step, [0.1], {"update": 0.01}, 1000.0, 1.0) for side, step in sides.items()]
    out = Console(file=StringIO(), width=100)
    print_cases(out, cases)
    lines = {line[:22].strip(): line.split() for line in out.file.getvalue().splitlines()}
    assert lines["step of training"][-3:] == ["0.500", "0.460", "0.92"]
    assert lines["fastest to slowest"][-2:] == ["0.400-0.700", "0.450-0.500"]


def test_plain_is_the_same_detector() -> None:
    """From the same weights it takes the same steps as detr_pt, so that what is measured beside it is the same work."""
    import torch

    args = vars(training_args(**SMALL, dropout=0.0, batch_size=2, dtype="float64"))
    ours, plain = (build(side, args, (64, 96)) for side in ("detr_pt", "plain"))
    # In float32 the first steps of AdamW turn a gradient that is all rounding into a whole step, up or down.
    plain.model.double(), plain.criterion.double()
    plain.images = [image.astype(np.float64) for image in plain.images]
    plain.targets = [
        {key: v.astype(np.float64) if v.dtype.kind == "f" else v for key, v in t.items()} for t in plain.targets
    ]
    state = {renamed(key): value.clone() for key, value in ours.model.state_dict().items()}
    plain.model.load_state_dict(state)
    assert len(list(plain.model.parameters())) == len(list(ours.model.parameters()))
    for side in (ours, plain):
        side.training(True)
        for _ in range(2):
            side.step()
    after = dict(plain.model.named_parameters())
    moved, trained = 0, sum(p.requires_grad for p in ours.model.parameters())
    for key, value in ours.model.named_parameters():
        torch.testing.assert_close(after[renamed(key)], value, rtol=1e-9, atol=1e-9)
        moved += bool((value != state[renamed(key)]).any())
    # All but the biases that are zero by symmetry.
    assert moved >= trained - 5
