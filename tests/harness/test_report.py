"""The report: coverage first, lines that fit a terminal, and last what to look at and what to type."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from parity.metrics import Error
from parity.mutants import CATALOGUE
from parity.policy import Calibrated32, Exact64
from parity.report import fold, print_layers, print_mutants
from parity.verdict import Judgement, LayersVerdict

LONG = "transformer.decoder.layers.5.multihead_attn.out_proj"


def judgement(owner: str, *problems: str, ratio: float = 1.0) -> Judgement:
    error = Error(max_abs=1e-15, rms=1e-15, scale=1.0, truth_rms=1.0, mismatches=0, size=5000)
    return Judgement(
        f"forward/{owner}(0)", owner, "detr_jt/attention.py:54", (100, 2, 256), error, ratio, 1.0, problems
    )


def verdict(*judgements: Judgement, **gaps: Any) -> LayersVerdict:
    fields: dict[str, Any] = {"idle": [], "unexercised": [], "crashes": [], "modules": len(judgements), **gaps}
    return LayersVerdict(judgements=judgements, exact=Exact64(), calibrated=Calibrated32(), **fields)


def printed(result: LayersVerdict, terminal: bool = False, **options: Any) -> list[str]:
    text = io.StringIO()
    print_layers(
        result, Console(file=text, width=80, force_terminal=terminal, no_color=True, highlight=False), **options
    )
    return text.getvalue().splitlines()


@pytest.fixture
def failed() -> Iterator[LayersVerdict]:
    yield verdict(judgement("a"), judgement(LONG, "float64 error is 0.1", ratio=155507.5), judgement("c", "wrong"))


def test_coverage_comes_first_and_divergence_verdict_and_next_command_last(failed: LayersVerdict) -> None:
    said = printed(failed, command="python -m parity layers --size 64")
    assert "FAIL" in said[0] and "3 of 3 tensors compared in 3 modules" in said[0]
    assert said[-1] == f"Next: python -m parity layers --size 64 --show {LONG}"
    assert said[-2] == "✗ FAIL  2 failing tensors"
    divergence = next(i for i, line in enumerate(said) if line.startswith("First divergence"))
    tables = [i for i, line in enumerate(said) if line.startswith(("┃", "│", "✓ 1", "✗ 1"))]
    assert divergence > max(tables) and LONG in said[divergence]


def test_a_single_tensor_is_not_a_plural() -> None:
    said = printed(verdict(judgement("a", "wrong")))
    assert "1 of 1 tensor compared in 1 module," in said[0] and "✗ FAIL  1 failing tensor" in said
    assert not any("later" in line for line in said)
    said = printed(verdict(judgement("a", "wrong"), judgement("b", "wrong")))
    assert any("1 later tensor fails too" in line for line in said)


def measured(size: tuple[int, ...], ratio: float, error: float, exact: bool = True) -> Judgement:
    port = Error(max_abs=error, rms=error, scale=1.0, truth_rms=1.0, mismatches=0, size=10)
    error64 = Error(1e-15, 1e-15, 1.0, 1.0, 0, 10) if exact else None
    return Judgement("loss/a", "criterion", "", size, error64, ratio, ratio, floats=(port, port))


def float32_line(*judgements: Judgement) -> str:
    return next(line for line in printed(verdict(*judgements)) if line.startswith("float32: "))


def test_of_small_tensors_alone_no_ratio_of_large_ones_is_told() -> None:
    said = float32_line(measured((4, 10), 1.25, 1e-6))
    assert "worst 0.00" not in said
    assert "only tensors of fewer than 1000 elements" in said and "worst 1.25 (bound 4)" in said


def test_what_is_below_the_noise_floor_is_told_as_such() -> None:
    said = float32_line(measured((100, 100), 0.3, 1e-8), measured((4,), 0.0, 0.0))
    assert said.startswith("float32: no error of Jittor's is above the noise floor (4 roundings")
    assert "worst 1.25 times" in float32_line(measured((100, 100), 1.25, 1e-6), measured((4,), 0.0, 0.0))


def test_a_precision_that_was_not_run_has_no_figures() -> None:
    said = printed(verdict(measured((100, 100), 1.25, 1e-6, exact=False)))
    assert "float64: not judged" in said
    assert any(line.startswith("│ ✓ │ criterion │ 1       │ -") for line in said), said
    alone = Judgement("forward/a", "a", "", (3,), Error(1e-15, 1e-15, 1.0, 1.0, 0, 3), None, None)
    assert "float32: not judged" in printed(verdict(alone))


def test_every_reason_of_a_failure_is_in_the_last_line() -> None:
    gaps = {"idle": ["x"], "unexercised": ["m"], "doubled": ["d in jittor float64"], "crashes": ["jittor: Traceback"]}
    said = printed(verdict(judgement("a"), **gaps))
    assert said[-1] == "✗ FAIL  1 idle or one-sided module, 1 uniform mask, 1 doubled name, 1 traceback"
    assert any("Sent twice" in line and "d in jittor float64" in line for line in said)
    assert "nothing was compared" in printed(verdict())[-1]
    assert printed(verdict(judgement("a")))[-1] == "✓ PASS  1 of 1 tensor within the bounds"


def test_the_reason_names_what_is_wrong() -> None:
    good = judgement("a")
    assert verdict(good).reason == ""
    assert verdict(good, unexercised=["encoder.mask"]).reason == "masks that are the same everywhere: encoder.mask"
    assert verdict(good, judgement("b", "wrong")).reason == "forward/b(0) (b)"
    assert verdict().reason == "nothing was compared"
    both = verdict(good, idle=["x"], crashes=["jittor: Traceback"]).reason
    assert both == "the model raised: jittor: Traceback; modules that never ran: x"


def test_lines_fit_80_columns_and_names_are_folded_at_dots_only(failed: LayersVerdict) -> None:
    said = printed(failed, terminal=True, show=LONG.rpartition(".")[0])
    rows = said[said.index(next(line for line in said if "float32  tensor" in line)) + 1 :][:2]
    plain = [re.sub(r"\x1b\[\d*m", "", row) for row in rows]
    assert plain == [
        "✗ 1.0e-15  1.6e+05  transformer.decoder.layers.5.multihead_attn.out_proj(0)",
        "                      100x2x256",
    ]


def test_a_file_gets_one_line_for_each_tensor(failed: LayersVerdict) -> None:
    assert f"✗ 1.0e-15  1.6e+05  {LONG}(0) 100x2x256" in printed(failed)


@pytest.mark.parametrize("width", [10, 30, 58, 80])
def test_folding_loses_nothing_and_breaks_at_dots_and_spaces(width: int) -> None:
    name = f"{LONG}(0) 100x2x256"
    lines = fold(name, width)
    words = set(name.replace(".", " ").split())
    assert [part for line in lines for part in line.replace(".", " ").split()] == name.replace(".", " ").split()
    assert all(len(line) <= width or line.strip(" .") in words for line in lines)


def test_the_mutants_are_listed_whole() -> None:
    text = io.StringIO()
    print_mutants(CATALOGUE.values(), Console(file=text, width=80))
    for name, mutant in CATALOGUE.items():
        assert name in text.getvalue().splitlines() and f"{mutant.what}; at {mutant.module}" in text.getvalue()


def test_what_is_above_the_typical_error_is_listed_where_no_tensor_fails_by_itself() -> None:
    many = [judgement(f"m{i}", ratio=6.0 if i < 3 else 1.0) for i in range(30)]
    result = replace(verdict(*many), calibrated=Calibrated32(factor=16, most=3))
    said = printed(result)
    assert not result and said[-1] == "✗ FAIL  1 typical float32 error above its bound"
    assert [line for line in said if "times the reference's error" in line] == [
        f"  More than 95 of 100 may be: 6 times the reference's error, forward/m{i}(0)" for i in range(3)
    ]
    assert not any("times the reference's error" in line for line in printed(verdict(*many)))
