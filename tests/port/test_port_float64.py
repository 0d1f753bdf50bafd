"""Models that were not written for float64 compute in it all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def observed(*arguments: str) -> Any:
    command = [sys.executable, str(Path(__file__).with_name("observe_float64.py")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_numbers_means_and_constants_are_float64_forward_and_backward() -> None:
    told = observed()
    worst = {name: max(errors) for name, errors in told["errors"].items()}
    assert all(error < 1e-14 for error in worst.values()), worst
    assert told["narrow"] == "float32"


def test_without_it_most_have_the_error_of_float32() -> None:
    errors = {name: max(one) for name, one in observed("plain")["errors"].items()}
    wrong = [name for name, error in errors.items() if error > 1e-10]
    assert len(wrong) >= 8, errors
