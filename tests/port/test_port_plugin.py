"""The pytest plugin: options that are refused, what a session tells at its end, and what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

TESTS = """
import importlib.util, sys
from pathlib import Path

def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

describe = load("compare_vit", Path({root!r}) / "docs/examples/vit/compare_vit.py").describe
right = Path({root!r}) / "docs/examples/vit/vit_jittor.py"
wrong = Path({folder!r}) / "vit_wrong.py"
wrong.write_text(right.read_text().replace(" * self.scale", ""))

def test_pass(parity):
    assert parity.compare(describe(), ["layers"])

def test_found(parity):
    parity.must_find(describe(str(wrong)), "layers", "blocks.0.attn")

def test_found_elsewhere(parity):
    parity.must_find(describe(str(wrong)), "layers", "blocks.1.attn")

def test_no_fault_at_all(parity):
    parity.must_find(describe(), "layers", "blocks.0.attn")

def test_fails(parity):
    assert parity.compare(describe(str(wrong)), ["layers"])
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), *arguments]
    # From the checkout, where the descriptions have their paths from.
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parity-seeds", "0"], "at least one seed"),
        (["--parity-report", "/nowhere/at/all.html"], "does not exist"),
        (["--parity-json", "/nowhere/at/all.json"], "does not exist"),
        (["--parity-dtype", "float16"], "invalid choice"),
    ],
)
def test_options_that_cannot_be_used_are_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(tmp_path, str(tmp_path), *arguments)
    assert done.returncode == 4
    assert message in done.stderr + done.stdout


def test_where_nothing_was_compared_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "test_none.py").write_text("def test_none(): pass\n", encoding="utf8")
    done = run(tmp_path, str(tmp_path), "--parity-json", str(tmp_path / "out.json"))
    assert done.returncode == 0
    assert "nothing was compared" in done.stdout
    assert not (tmp_path / "out.json").exists()


def test_a_session_tells_and_writes_what_was_compared(tmp_path: Path) -> None:
    file = tmp_path / "test_vit.py"
    file.write_text(TESTS.format(root=str(Path.cwd()), folder=str(tmp_path)), encoding="utf8")
    done = run(
        tmp_path,
        str(file),
        "--parity-dtype=float64",
        f"--parity-json={tmp_path / 'out.json'}",
        f"--parity-report={tmp_path / 'out.html'}",
        f"--junitxml={tmp_path / 'out.xml'}",
    )
    assert done.returncode == 1, done.stdout
    assert "2 passed" in done.stdout
    assert "3 failed" in done.stdout
    assert "1 of 2 ports pass" in done.stdout
    assert "kill rate: 1 of 3 planted faults found" in done.stdout
    assert "float32 and the steps were not judged" in done.stdout
    rows = {row["test"].split("::")[1]: row for row in json.loads((tmp_path / "out.json").read_text(encoding="utf8"))}
    assert rows["test_pass"]["passed"]
    assert rows["test_pass"]["compared"] == {"weights": 44, "layers": 48}
    assert rows["test_found"]["outcome"] == "found"
    assert rows["test_found_elsewhere"]["outcome"] == "missed"
    assert rows["test_no_fault_at_all"]["outcome"] == "missed"
    assert not rows["test_fails"]["passed"]
    page = (tmp_path / "out.html").read_text(encoding="utf8")
    assert "FAIL" in page
    assert "blocks.0.attn" in page
    cases = ElementTree.parse(tmp_path / "out.xml").iter("property")
    assert sum(case.get("name") == "parity" for case in cases) == 5
