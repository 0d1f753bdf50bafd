"""The plugin with float32 alone, and its workers after a comparison that was broken off."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from detr_common.errors import InputError
from parity import Port
from parity.plugin import Comparer
from parity.port.compare import PortSession

TESTS = """
import numpy as np
from pathlib import Path
from parity import Optimizer, Port

VIT = Path({root!r}) / "docs/examples/vit"
wrong = Path({folder!r}) / "vit_wrong.py"
wrong.write_text((VIT / "vit_jittor.py").read_text().replace(" * self.scale", ""))

def describe(port=VIT / "vit_jittor.py"):
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    return Port(
        f"{{VIT}}/vit_torch.py:build", f"{{port}}:build", images, np.array([1, 7]),
        loss=(f"{{VIT}}/vit_torch.py:loss", f"{{port}}:loss"),
        optimizer=Optimizer("AdamW", lr=1e-3, weight_decay=0.05), options={{"depth": 1}}, forced=1, free=2,
        renames={{"embed": "patch_embed", "layers": "blocks", "layers.*.ffn": "blocks.*.mlp"}},
    )

def test_every_rung(parity):
    verdict = parity.compare(describe())
    assert verdict, str(verdict)
    assert "float64: not judged" in str(verdict)
    assert set(parity._workers().workers) == {{
        ("torch", "float64"), ("torch", "float32"), ("torch", "float32-twin"), ("jittor", "float32")
    }}

def test_found(parity):
    parity.must_find(describe(wrong), "layers", "blocks.0.attn")

def test_broken_off(parity):
    session = parity._workers()
    session.workers["torch", "float64"].ask("choose", describe().job.feed.arrays())
    assert not session.usable

def test_after_it(parity):
    assert parity.compare(describe(), ["layers"])
"""


def test_float32_is_judged_alone_and_a_session_that_was_broken_off_is_replaced(tmp_path: Path) -> None:
    file, out, page = (tmp_path / name for name in ("test_vit.py", "out.json", "out.html"))
    file.write_text(TESTS.format(root=str(Path.cwd()), folder=str(tmp_path)), encoding="utf8")
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    options += ["--parity-dtype=float32", f"--parity-json={out}", f"--parity-report={page}"]
    command = [sys.executable, "-m", "pytest", *options, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "float32 only, against PyTorch's float64" in done.stdout
    rows = {row["test"].split("::")[1]: row for row in json.loads(out.read_text(encoding="utf8"))}
    assert rows["test_every_rung"]["passed"] and not rows["test_every_rung"]["not_asked"]
    assert list(rows["test_every_rung"]["compared"]) == ["weights", "layers", "losses", "gradients", "steps"]
    assert all(rows["test_every_rung"]["compared"].values())
    assert rows["test_found"]["outcome"] == "found" and rows["test_after_it"]["passed"]
    assert "PASS" in page.read_text(encoding="utf8")


def test_another_dtype_is_refused() -> None:
    with pytest.raises(InputError, match=r"float16.*both, float64, float32"):
        PortSession(dtype="float16")
    described = Port("a.py:build", "b.py:build", np.zeros(1))
    with pytest.raises(InputError, match="dtype='both': the session was made for 'float64'"):
        described.compare(["layers"], session=SimpleNamespace(dtype="float64"), dtype="both")


def test_modules_of_this_process_are_compared_in_the_dtype_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(Port, "compare", lambda self, rungs, **options: asked.append(options) or True)
    options = {"--parity-seeds": 1, "--parity-dtype": "float64", "parity_device": "cpu"}
    config = SimpleNamespace(getoption=options.get)
    comparer = Comparer("test", config, lambda: "workers", lambda name, value: None)
    modules = Port(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), np.zeros(1))
    functions = Port("a.py:build", "b.py:build", np.zeros(1))
    for port in (modules, functions):
        assert comparer._compare(port, ["layers"], {})
    assert asked == [{"session": None, "dtype": "float64"}, {"session": "workers", "dtype": "float64"}]
