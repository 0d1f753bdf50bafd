import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sides import Arrays, Torch

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def observe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Arrays]]:
    """Run ``observe_TOPIC.observe`` in both packages and return the arrays of each by the framework's name."""

    def run(topic: str, **inputs: object) -> dict[str, Arrays]:
        folder = tmp_path_factory.mktemp(topic)
        given = {name: np.asarray(value) for name, value in inputs.items()}
        np.savez(folder / "inputs.npz", **given)
        command = [sys.executable, HERE / "sides.py", topic, folder / "inputs.npz", folder / "outputs.npz"]
        environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
        process = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-6000:]
        in_torch = importlib.import_module(topic).observe(Torch(), given)
        with np.load(folder / "outputs.npz") as outputs:
            in_jittor = dict(outputs)
        assert set(in_torch) == set(in_jittor)
        return {"torch": in_torch, "jittor": in_jittor}

    return run


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
