"""What a command's exit code says when a rung compared nothing, was left out, or met a name on one side only."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import Any

import pytest
from test_judge import run, scaled

import parity.cli
from parity import ladder_cli
from parity.ladder import LadderVerdict
from parity.mutants.kills import SMALL
from parity.policy import Steps
from parity.rungs import PORT, REFERENCE
from parity.steps_verdict import Finding, StepsVerdict
from parity.verdict import LayersVerdict

OPTIONS = [part for name, value in SMALL.items() for part in (f"--{name}", str(value))]
DTYPES = ("float64", "float32")


def steps(compared: int = 9, *findings: Finding) -> StepsVerdict:
    missing = () if compared else ("forced", "free")
    return StepsVerdict(findings, (), missing, {"forced": compared, "free": compared}, {}, (), Steps())


def exit_code(monkeypatch: pytest.MonkeyPatch, command: str, *verdicts: Any, wanted: tuple[str, ...] = ()) -> int:
    """Run a command whose rungs come to these verdicts; no worker starts."""
    monkeypatch.setattr(ladder_cli, "LayersSession", lambda sparing: nullcontext())
    rungs = wanted or tuple(verdict.rung for verdict in verdicts)
    monkeypatch.setattr(ladder_cli, "run_ladder", lambda *_: LadderVerdict(rungs, verdicts))
    monkeypatch.setattr(sys, "argv", ["parity", command, "--size", "64", *OPTIONS])
    with pytest.raises(SystemExit) as caught:
        parity.cli.main()
    return int(caught.value.code or 0)


def of_losses(**changes: Any) -> LayersVerdict:
    verdict = run(**changes)
    object.__setattr__(verdict, "rung", "losses")
    return verdict


def test_agreement_is_0_and_a_difference_1(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exit_code(monkeypatch, "losses", of_losses()) == 0
    assert exit_code(monkeypatch, "losses", of_losses(changes={(PORT, "float64", "b"): scaled(1 + 1e-9)})) == 1
    assert exit_code(monkeypatch, "steps", steps()) == 0
    assert exit_code(monkeypatch, "steps", steps(9, Finding("step0/lr", "schedule", "wrong", 2.0))) == 1


@pytest.mark.parametrize("side", [PORT, REFERENCE])
@pytest.mark.parametrize("command", ["losses", "gradients", "ladder"])
def test_a_name_on_one_side_only_is_1(monkeypatch: pytest.MonkeyPatch, side: str, command: str) -> None:
    dtypes = DTYPES if side == PORT else (*DTYPES, "float32-twin")
    verdict = of_losses(changes={(side, dtype, "b"): None for dtype in dtypes})
    assert verdict.compared == 2
    assert exit_code(monkeypatch, command, verdict, *([steps()] if command == "ladder" else [])) == 1


def test_a_rung_that_was_left_out_is_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(monkeypatch, "ladder", of_losses(), steps()) == 0
    assert exit_code(monkeypatch, "ladder", of_losses(), wanted=("losses", "steps")) == 1
    assert "steps      did not run" in capsys.readouterr().out


@pytest.mark.parametrize("json_too", [False, True])
def test_nothing_compared_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], json_too: bool
) -> None:
    nothing = of_losses(changes={(PORT, dtype, name): None for dtype in DTYPES for name in "abc"})
    assert nothing.compared == 0
    assert exit_code(monkeypatch, "losses", nothing) == 2
    assert exit_code(monkeypatch, "steps", steps(0)) == 2
    assert exit_code(monkeypatch, "ladder", nothing, steps(0)) == 2
    assert exit_code(monkeypatch, "ladder") == 2
    # One rung that compared something does not make up for one that did not.
    assert exit_code(monkeypatch, "ladder", nothing, steps()) == 2
    capsys.readouterr()
    if json_too:
        monkeypatch.setattr(ladder_cli, "summarise", lambda *_: None)
        OPTIONS.append("--json")
        try:
            assert exit_code(monkeypatch, "losses", nothing) == 2
        finally:
            OPTIONS.remove("--json")
        assert json.loads(capsys.readouterr().out)["passed"] is False
