"""Tables that a port computes by itself: other values are found, although the reference's take their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity import Port
from parity.port.constants import with_constants
from parity.port.feed import ModelFeed
from parity.port.job import PortJob, Side
from parity.port.names import WeightsVerdict

TORCH = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("freqs", 10000 ** (-torch.arange(0, 16, 2) / 16))
        self.register_buffer("noise", torch.randn(8))
        self.norm, self.out = nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, x):
        return self.out(self.norm(torch.sin(x[:, None] * self.freqs + self.noise)))
"""
JITTOR = """
import jittor as jt
from jittor import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.freqs = ({base} ** (-jt.arange(0, 16, 2).float32() / 16)).stop_grad()
        self.noise = jt.randn(8).stop_grad()
        self.norm, self.out = nn.BatchNorm1d(8), nn.Linear(8, 4)

    def execute(self, x):
        return self.out(self.norm(jt.sin(x[:, None] * self.freqs + self.noise)))
"""


@pytest.mark.parametrize(("base", "ignore"), [(10000, ()), (1000, ()), (1000, ("freqs",))])
def test_a_table_of_another_base_is_found(tmp_path: Path, parity: Any, base: int, ignore: tuple[str, ...]) -> None:
    (tmp_path / "in_torch.py").write_text(TORCH)
    (tmp_path / "in_jittor.py").write_text(JITTOR.format(base=base))
    builders = f"{tmp_path}/in_torch.py:Model", f"{tmp_path}/in_jittor.py:Model"
    inputs = np.random.default_rng(0).random(6, dtype=np.float32)
    verdict = parity.compare(Port(*builders, inputs, ignore=ignore), rungs=["layers"])
    assert bool(verdict) is (base == 10000 or bool(ignore)), verdict.story()
    (weights, *others) = verdict.verdicts
    assert list(weights.constants) == (["freqs"] if not verdict else [])
    if not verdict:
        assert verdict.first_failure.rung == "weights" and not others
        assert "freqs begins with other values in the port" in verdict.story() and "ignore=['freqs']" in verdict.story()
        assert weights.as_dict()["constants"]["freqs"] == pytest.approx(weights.constants["freqs"]) and not weights


def test_a_buffer_that_is_not_saved_is_told_with_what_keeps_it_out_of_jittors_too(tmp_path: Path, parity: Any) -> None:
    unsaved = TORCH.replace("2) / 16))", "2) / 16), persistent=False)")
    (tmp_path / "in_torch.py").write_text(unsaved)
    (tmp_path / "in_jittor.py").write_text(JITTOR.format(base=10000))
    port = Port(f"{tmp_path}/in_torch.py:Model", f"{tmp_path}/in_jittor.py:Model", np.ones(6, np.float32))
    weights = parity.compare(port, rungs=["layers"]).first_failure
    assert weights.reason.startswith("only Jittor has freqs, which PyTorch keeps out of its state dict")
    (tmp_path / "in_jittor.py").write_text(JITTOR.format(base=10000).replace("self.freqs", "self._freqs"))
    assert "weights" in [one.rung for one in parity.compare(port, rungs=["layers"]).verdicts if one]


TABLE = np.linspace(0, 1, 7, dtype=np.float32)


def judged(own: Any, *, buffer: bool = True, redrawn: Any = TABLE, ignore: tuple[str, ...] = ()) -> WeightsVerdict:
    job = PortJob(Side("a:b"), Side("a:b"), ModelFeed(np.zeros(1)), ignore=ignore)
    buffers = ["a.table"] if buffer else []
    before = WeightsVerdict(1, unused=ignore)
    return with_constants(before, job, {"a.table": TABLE}, {"a.table": own}, buffers, lambda: {"a.table": redrawn})


def test_rounding_is_none_and_one_wrong_value_is() -> None:
    assert judged(TABLE * np.float32(1 + 1e-6))
    one = TABLE.copy()
    one[3] += 0.01
    assert judged(one).constants == {"a.table": pytest.approx(0.01, rel=1e-3)}
    one[3] = np.nan
    assert not judged(one)
    assert judged(one, buffer=False)


def test_what_another_seed_draws_otherwise_is_no_constant() -> None:
    assert not judged(TABLE + 1)
    assert judged(TABLE + 1, redrawn=TABLE + 2)


def test_a_buffer_can_be_ignored_by_its_own_path_only() -> None:
    assert judged(TABLE + 1, ignore=("a.table",))
    assert judged(TABLE + 1, ignore=("*.table",))
    left = judged(TABLE + 1, ignore=("a.**",))
    assert left.constants and left.unused == ["a.**"]


def test_kinds_may_differ_and_values_may_not() -> None:
    whole = np.arange(7)
    job = PortJob(Side("a:b"), Side("a:b"), ModelFeed(np.zeros(1)))
    same = with_constants(WeightsVerdict(1), job, {"i": whole}, {"i": whole.astype(np.int32)}, ["i"], dict)
    assert same
