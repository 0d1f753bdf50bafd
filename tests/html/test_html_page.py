"""The page of made-up results: complete, escaped, of a bounded size, and without any reference to elsewhere."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from html_verdicts import SETTINGS, Page, evidence, ladder, layers, ops, steps, tensor

from detr_common.errors import InputError
from parity.html import write_report
from parity.html.kills import read_kills
from parity.html.sections import LISTED
from parity.ladder import LadderVerdict
from parity.metrics import Error
from parity.mutants import CATALOGUE
from parity.mutants.kills import Kill
from parity.mutants_cli import as_json, markdown
from parity.output import plain
from parity.steps_verdict import Finding

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}\u202e\x00\ud800"
ROOT = Path(__file__).parents[2]

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(data: Any, **options: Any) -> str:
        write_report(data, tmp_path / "report.html", **options)
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return written


def test_a_pass_says_so_first_and_shows_every_rung(write: Write) -> None:
    text = write(ladder(), command="python -m parity ladder")
    page = Page(text)
    assert "<title>PASS" in text and page.text.index("PASS") < page.text.index("The ladder")
    assert "comparisons" in page.text and "nothing missing, nothing unexpected, no module idle" in page.text
    for rung in ("ops", "layers", "losses", "gradients", "steps"):
        assert f"rung-{rung}" in page.ids
    assert "python -m parity ladder" in page.text and "ab" * 32 in page.text
    assert "12.2.0" in page.text and "Linux-1" not in page.text, "of the cache's path only compiler and Python"


def test_what_did_not_run_is_told(write: Write) -> None:
    text = Page(write(layers().as_dict())).text
    for rung in ("data", "weights", "ops", "losses", "gradients", "steps", "training"):
        assert re.search(rf"\b{rung}\b not run", text), rung
    left_out = LadderVerdict(("ops", "layers"), [layers()]).as_dict()
    page = write(left_out)
    assert "<title>FAIL" in page and "wanted, and did not run" in page


def test_a_failure_opens_its_first_divergence(write: Write) -> None:
    data = plain(layers(60, failed=9).as_dict())
    text = write(data, command="python -m parity layers --size 64 --html out.html --json --mutant x")
    page = Page(text)
    assert "<title>FAIL" in text and "divergence" in page.ids
    assert "detr_jt/attention.py:54" in page.text and "worst element at [0]: 1 instead of 2" in page.text
    assert "8 later tensors of the layers rung fail too" in page.text
    owner = "transformer.encoder.layers.2.part2.linear"
    assert f"python -m parity layers --size 64 --mutant x --show {owner}" in page.text
    titles = [attrs["aria-labelledby"] for attrs in page.all("svg")]
    assert any("spread-" in (t or "") for t in titles) and any("heat-" in (t or "") for t in titles)
    assert "The next 2 failing tensors" in page.text


def test_what_a_failure_can_mean_is_told_beside_the_verdict(write: Write) -> None:
    data = {**ladder(), "passed": False, "hints": ["It is the loss itself:", f"  {HOSTILE}"]}
    text = write(data)
    page = Page(text)
    assert page.text.index("It is the loss itself:") < page.text.index("The ladder")
    assert not page.all("img") and "alert(2)" in page.text
    assert 'class="note lines"' not in write(ladder())


def test_a_failure_of_float32_alone_shows_pytorchs_own(write: Write) -> None:
    wrong = tensor(3, problems=("float32 error is 9 times the reference's own",), evidence=evidence("float32"))
    text = Page(write(layers(judgements=[tensor(0), wrong]).as_dict())).text
    assert "How its float32 errors are spread; the line is PyTorch’s own in float32" in text


def test_a_hostile_name_stays_text(write: Write) -> None:
    judgements = [tensor(0, owner=f"a.{HOSTILE}"), tensor(1, True, owner=HOSTILE, evidence=evidence())]
    verdict = layers(judgements=judgements, idle=[HOSTILE], crashes=[HOSTILE], doubled=[HOSTILE])
    data = verdict.as_dict()
    data["settings"] = {
        **SETTINGS,
        "mutant": HOSTILE,
        "args": {HOSTILE: HOSTILE},
        "environment": {HOSTILE: {HOSTILE: "1"}},
    }
    rungs = {
        "layers": data,
        "ops": ops(HOSTILE).as_dict(),
        "steps": steps(Finding(HOSTILE, HOSTILE, HOSTILE, 2)).as_dict(),
    }
    text = write(
        {"passed": False, "left_out": [HOSTILE], "rungs": rungs}, command=HOSTILE.replace("'", "").replace('"', "")
    )
    page = Page(text)
    assert len(page.all("script")) == 1 and not page.all("img")
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert "{{7*7}}" in page.text and "alert(2)" in page.text
    assert not {"\x00", "\u202e", "\ud800"} & set(text) and "\\u202e" in text


def test_words_for_what_is_not_finite(write: Write) -> None:
    broken = Error(math.inf, math.inf, 1.0, 1.0, 0, 9)
    data = layers(2).as_dict()
    data["tensors"][1] |= {"ratio": math.inf, "ratio_max": math.nan, "error64": vars(broken), "problems": ["inf"]}
    for variant in (data, json.loads(json.dumps(plain(data), allow_nan=False))):
        variant["passed"] = False
        page = Page(write(variant))
        assert "∞" in page.text and "nan" not in re.sub(r"[^a-z]", " ", page.text).split()
    told = json.dumps(plain(steps(distance=math.inf).as_dict()), allow_nan=False)
    Page(write(json.loads(told)))
    Page(write(steps(distance=math.nan).as_dict()))


def test_nothing_compared_is_no_pass(write: Write) -> None:
    for data in (layers(0).as_dict(), {"passed": True, "left_out": [], "rungs": {}}):
        page = write(data)
        assert "<title>FAIL" in page and "Nothing was compared" in page


def test_a_result_that_only_says_that_it_passed_is_no_pass(write: Write) -> None:
    assert "<title>FAIL" in write({**layers(9, failed=1).as_dict(), "passed": True})


def test_what_is_zero_by_symmetry_is_named_and_in_no_chart(write: Write) -> None:
    nothing = tensor(1, absolute=True, error64=Error(1e-17, 1e-17, 1e-26, 1e-27, 0, 9))
    text = write(layers(judgements=[tensor(0), nothing]).as_dict())
    page = Page(text)
    assert "<title>PASS" in text and "1: zero by symmetry, judged absolutely" in page.text
    assert "without the 1 that are zero by symmetry" in page.text and "1e10" not in page.text


def test_tensors_of_one_side_are_named(write: Write) -> None:
    one = tensor(1, error64=None, ratio=None, ratio_max=None, floats=None, side="missing", problems=("not in jittor",))
    page = Page(write(layers(judgements=[tensor(0), one]).as_dict()))
    assert "1: only PyTorch has, or one precision lacks" in page.text and "not in jittor" in page.text


def test_the_size_is_bounded_and_what_is_left_out_is_told(write: Write) -> None:
    text = write(layers(12_000, failed=5_000).as_dict())
    assert len(text) < 3_000_000
    assert f"The {LISTED} worst of 12,000 tensors, failed ones first; 11,900 are left out here" in Page(text).text


@pytest.mark.parametrize("failed", [0, 7])
def test_the_page_is_sound_and_refers_to_nothing_elsewhere(write: Write, failed: int) -> None:
    options = {"runs": ROOT / "docs" / "convergence" / "shapes", "kills": ROOT / "docs" / "mutants.md"}
    text = write(plain(ladder(failed=failed)), **options)
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    for _, attrs in page.elements:
        for name in (attrs.get("aria-labelledby") or "").split():
            assert name in page.ids
        href, source = attrs.get("href"), attrs.get("src")
        assert source is None and (href is None or href == "data:," or (href[0] == "#" and href[1:] in page.ids))
    assert not re.search(r"https?://|url\(|@import|//[a-z]", text.replace("// ", ""))
    assert len(page.all("title")) > len(page.all("svg")) == len(page.all("desc")) > 0
    assert "127 of 127 faults found" in page.text and "Total loss" in page.text


def test_faults_that_were_missed_are_told(write: Write, tmp_path: Path) -> None:
    fault = {
        "rung": "layers",
        "name": "a",
        "what": "b",
        "expected": "m",
        "told": "not found",
        "error": "",
        "smallest": "",
    }
    table = tmp_path / "kills.json"
    table.write_text(json.dumps({"faults": [{**fault, "found": ""}, {**fault, "found": "m"}]}))
    text = Page(write(layers().as_dict(), kills=table)).text
    assert "1 of 2 faults found" in text and "not found" in text


def test_a_kill_table_reads_the_same_from_markdown_and_from_json(tmp_path: Path) -> None:
    table = [Kill(mutant, None, smallest=mutant.size) for mutant in list(CATALOGUE.values())[::9]]
    (tmp_path / "kills.md").write_text(markdown(table))
    (tmp_path / "kills.json").write_text(as_json(table))
    found = read_kills(tmp_path / "kills.md")
    assert found == read_kills(tmp_path / "kills.json") and len(found.rows) == len(table) and not found.placed
    assert found.rows[0].told == "a worker died"


def test_the_file_is_replaced_at_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def refuse(*_: object) -> None:
        assert path.read_text() == "old"
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        with pytest.raises(InputError, match="No space left"):
            write_report(layers().as_dict(), path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["report.html"]
    write_report(layers().as_dict(), path)
    assert path.read_text().startswith("<!DOCTYPE html>") and path.stat().st_mode & 0o044


def test_a_path_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none" / "a.html", "no folder"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=why):
            write_report({}, path)
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    if not os.access(closed, os.W_OK):
        with pytest.raises(InputError, match="may not write"):
            write_report({}, closed / "a.html")


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    good = layers().as_dict()
    for data in ({}, {"rung": "data", "passed": True}, {**good, "tensors": [{}]}, {**good, "policy": 3}):
        with pytest.raises(InputError, match="no result"):
            write_report(data, tmp_path / "a.html")
    for option in ("runs", "kills"):
        given: dict[str, Any] = {option: tmp_path / "nothing"}
        with pytest.raises(InputError, match=f"--{option}"):
            write_report(good, tmp_path / "a.html", **given)
    assert not list(tmp_path.iterdir())
