"""Ctrl-C: told in a word, and the process of the operations ends with the command that has started it."""

import json
import sys
import time
from pathlib import Path

import pytest

from parity import cli
from parity.ops.session import Result, run_ops

FAKE = """#!/bin/sh
echo $$ > {pid}
echo '{result}'
exec sleep 60
"""


def test_an_interrupt_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "app", lambda *_, **__: 130)
    assert cli._run(["layers"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_the_process_of_the_operations_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, pid = tmp_path / "python", tmp_path / "pid"
    words = dict.fromkeys(("case", "complaint", "gotcha"), "")
    result = {"name": "argmax, ties", "cases": 1, "worst64": 0.0, "worst32": 0.0, **words}
    fake.write_text(FAKE.format(pid=pid, result=json.dumps(result)), encoding="utf8")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))

    def interrupted(_: Result) -> None:
        raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_ops(["argmax, ties"], 1, None, False, interrupted)
    assert time.monotonic() - begun < 20
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
