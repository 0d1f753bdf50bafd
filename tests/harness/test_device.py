"""On a GPU the float32 runs are there and the float64 runs, the truth among them, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_common.options import default_args
from parity.layers import LayersJob, ModelJob
from parity.port.feed import ModelFeed
from parity.port.job import PortJob, Side
from parity.process import environment
from parity.rungs import RUNS


class Asked:
    """Keeps what a worker would be asked to build."""

    def build(self, args: Any, *rest: Any, **more: Any) -> None:
        self.args = args


def _jobs(device: str) -> list[ModelJob]:
    return [
        LayersJob(default_args(device=device), Path("weights.pkl"), []),
        PortJob(Side("a:b"), Side("a:b"), ModelFeed(np.zeros(1)), device=device),
    ]


@pytest.mark.parametrize(("device", "expected"), [("cpu", {"cpu"}), ("cuda", {"cuda"})])
@pytest.mark.parametrize("number", [0, 1])
def test_only_float32_goes_to_the_gpu(device: str, expected: set[str], number: int) -> None:
    places: dict[str, set[str]] = {"float64": set(), "float32": set()}
    for run in RUNS:
        worker: Any = Asked()
        _jobs(device)[number].build(run, worker)
        places[worker.args.dtype].add(worker.args.device)
    assert places == {"float64": {"cpu"}, "float32": expected}


def test_workers_round_nothing_to_tf32_unless_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert environment(None)["NVIDIA_TF32_OVERRIDE"] == "0"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert environment(None)["NVIDIA_TF32_OVERRIDE"] == "1"
