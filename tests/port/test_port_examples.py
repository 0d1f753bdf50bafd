"""The two examples of the documentation through the public API: their ports pass, and every planted fault is found."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path("docs/examples")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


DESCRIBED = {name: load(EXAMPLES / name / f"compare_{name}.py") for name in ("vit", "unet")}
BUGS = load(EXAMPLES / "bugs.py")
FAULTS = [
    pytest.param(name, bug, id=f"{name}: {what}")
    for name, table in {"vit": BUGS.VIT, "unet": BUGS.UNET}.items()
    for what, bug in table.items()
]


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_faithful_port_passes_on_every_rung(name: str, parity: Any) -> None:
    verdict = parity.compare(DESCRIBED[name].PORT)
    assert verdict
    assert [one.rung for one in verdict.verdicts] == ["weights", "layers", "losses", "gradients", "steps"]
    assert not verdict.unasked


@pytest.mark.parametrize(("name", "bug"), FAULTS)
def test_a_planted_fault_is_found_where_it_is(name: str, bug: Any, parity: Any, tmp_path: Path) -> None:
    right = (EXAMPLES / name / f"{name}_jittor.py").read_text(encoding="utf8")
    assert right.count(bug.right)
    faulty = tmp_path / f"{name}_jittor.py"
    faulty.write_text(right.replace(bug.right, bug.wrong), encoding="utf8")
    parity.must_find(DESCRIBED[name].describe(str(faulty)), bug.rung, bug.module)


def test_each_example_has_five_faults_on_more_than_one_rung() -> None:
    for table in (BUGS.VIT, BUGS.UNET):
        assert len(table) >= 5
        assert len({bug.rung for bug in table.values()}) >= 2
