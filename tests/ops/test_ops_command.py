"""``python -m parity ops``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from detr_common.errors import InputError
from parity.ops.session import OpsVerdict, Result, run_ops

SMALL = ("ops", "-k", "argmax, ties", "--examples", "5")


def parity(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parity", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_agreement_is_exit_code_0_and_written(tmp_path: Path) -> None:
    done = parity(*SMALL, "--seed", "3", "--json", str(tmp_path / "ops.json"))
    assert done.returncode == 0, done.stderr
    assert "1 of 1 operations agree on 5 cases" in done.stdout
    written = json.loads((tmp_path / "ops.json").read_text())
    assert written["passed"] is True
    assert written["compared"] == 5
    assert written["operations"][0]["name"] == "argmax, ties"


def test_a_difference_is_exit_code_1_with_the_smallest_case_and_where_to_read_on() -> None:
    done = parity(*SMALL, "--naive")
    assert done.returncode == 1
    assert "PyTorch returns 1 tensors, Jittor 2" in done.stdout
    assert "x = float32[" in done.stdout
    assert "python -m parity gotchas argmax-pair" in done.stdout


def test_nothing_compared_is_exit_code_2() -> None:
    done = parity("ops", "-k", "concat", "--naive")
    assert done.returncode == 2
    assert done.stderr.startswith("error: none of these operations has a naive form; those that have are layer_norm")


def test_an_unknown_operation_is_named() -> None:
    for naive in (False, True):
        with pytest.raises(InputError, match="no such operation: 'softmx'"):
            run_ops(["softmx", "softmax"], naive=naive)


def test_an_unknown_name_or_folder_is_exit_code_2_and_one_line() -> None:
    for arguments in (("-k", "argmaxx"), ("--json", "no/such/folder/file.json")):
        done = parity("ops", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
        assert arguments[1] in done.stderr


def test_a_verdict_without_cases_is_no_pass() -> None:
    nothing = Result("name", "", cases=0, worst64=0.0, worst32=0.0, complaint="", case="")
    assert not nothing
    assert not OpsVerdict(())
    assert not OpsVerdict((nothing,))
