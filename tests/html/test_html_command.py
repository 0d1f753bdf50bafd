"""``parity report``, and ``--html`` beside ``--json``."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from html_verdicts import ladder, layers, steps

import parity.cli
from parity import ladder_cli
from parity.ladder import LadderVerdict
from parity.mutants.kills import SMALL
from parity.output import plain

OPTIONS = [part for name, value in SMALL.items() for part in (f"--{name}", str(value))]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["parity", *arguments])
    with pytest.raises(SystemExit) as caught:
        parity.cli.main()
    return int(caught.value.code or 0)


def test_a_result_becomes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "result.json").write_text(json.dumps(plain(ladder()), allow_nan=False))
    out = tmp_path / "page.html"
    assert run(monkeypatch, "report", str(tmp_path / "result.json"), "--out", str(out), "--command", "how it ran") == 0
    assert "PASS" in out.read_text() and "how it ran" in out.read_text() and str(out) in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "{}", '{"rungs": {"layers": 3}, "passed": true}', "\x80", "[" * 100_000]
)
def test_a_damaged_result_is_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(text.encode("latin-1"))
    assert run(monkeypatch, "report", str(path), "--out", str(tmp_path / "page.html")) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "page.html").exists()


def test_damaged_evidence_is_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    data = plain(layers(9, failed=1).as_dict())
    data["tensors"][-1]["evidence"] = {"dtype": "float64", "heat": {"cells": []}}
    (tmp_path / "result.json").write_text(json.dumps(data))
    assert run(monkeypatch, "report", str(tmp_path / "result.json"), "--out", str(tmp_path / "page.html")) == 2
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["losses", "steps", "ladder"])
@pytest.mark.parametrize("also", [[], ["--json"]])
def test_a_command_writes_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, command: str, also: list[str]
) -> None:
    ran: list[Any] = [layers(rung="losses")] * (command != "steps") + [steps()] * (command != "losses")
    verdict = LadderVerdict([one.rung for one in ran], ran)
    monkeypatch.setattr(ladder_cli, "LayersSession", lambda **_: nullcontext())
    monkeypatch.setattr(ladder_cli, "run_ladder", lambda *_: verdict)
    out = tmp_path / "page.html"
    assert run(monkeypatch, command, "--size", "64", *OPTIONS, "--html", str(out), *also) == 0
    assert "PASS" in out.read_text() and f"python -m parity {command} --size 64" in out.read_text()
    said = capsys.readouterr().out
    assert json.loads(said)["passed"] if also else f"Report: {out}" in said


@pytest.mark.parametrize("command", ["layers", "losses", "gradients", "steps", "ladder"])
def test_a_page_that_cannot_be_written_is_2_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, command: str
) -> None:
    assert run(monkeypatch, command, "--html", "/nowhere/at/all.html", "--backbone", "none") == 2
    assert "--html /nowhere/at/all.html: there is no folder" in capsys.readouterr().err
