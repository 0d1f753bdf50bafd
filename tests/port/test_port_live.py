"""Modules that are given as they are: compared in this process, which is left as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detr_common.errors import InputError
from parity import compare_models


def test_modules_are_compared_and_the_process_is_as_before() -> None:
    command = [sys.executable, str(Path(__file__).with_name("live_modules.py")), "0.05"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    verdict = told.pop("verdict")
    assert verdict.startswith("<PASS: weights"), verdict
    assert "steps" in verdict
    assert told.pop("dtype") == "torch.float32"
    assert all(told.values()), told


def test_a_module_and_a_function_cannot_be_mixed() -> None:
    with pytest.raises(InputError, match="two modules or two functions"):
        compare_models(torch.nn.Linear(1, 1), "docs/examples/vit/vit_jittor.py:build", np.zeros(1))
