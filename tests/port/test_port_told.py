"""What is said of rates that differ, of files that belong to a package, and of modules in the wrong place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from detr_common.errors import InputError
from parity.explained import of_rates
from parity.frameworks import builders
from parity.frameworks.port import PortAdapter
from parity.policy import Calibrated32, Exact64
from parity.port.verdict import PortVerdict
from parity.verdict import Judgement, LayersVerdict


def test_rates_are_told_with_the_epoch_from_which_they_differ() -> None:
    theirs = np.array([[1e-3, 1e-4]] * 3 + [[1e-4, 1e-5]] * 3)
    own = theirs.copy()
    own[3] = theirs[0]
    assert of_rates("step0/rates", own, theirs) == (
        "epoch 3 of the schedule: the learning rate is 0.0001, 1e-05 in PyTorch and 0.001, 0.0001 in Jittor"
    )
    assert of_rates("step2/lr", own[0] * 2, theirs[0]) == (
        "the learning rate is 0.001, 0.0001 in PyTorch and 0.002, 0.0002 in Jittor"
    )
    assert of_rates("step0/rates", own[:, :1], theirs) == "there are 2 groups in PyTorch and 1 in Jittor"
    assert of_rates("step0/rates", theirs, theirs) == of_rates("step0/param/lr_table", own, theirs) == ""


def test_a_file_of_a_package_is_named_as_python_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "nets"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "part.py").write_text("SIZE = 3\n")
    (folder / "net.py").write_text("from .part import SIZE\n\ndef build():\n    return SIZE\n")
    with pytest.raises(InputError, match=rf"nets\.net:build, and set PYTHONPATH={tmp_path}"):
        builders.find(f"{folder}/net.py:build")


@pytest.mark.parametrize(("name", "due"), [("torch", "PyTorch"), ("jittor", "Jittor")])
def test_modules_in_the_wrong_order_are_named_by_their_class(name: str, due: str) -> None:
    class Other:
        def __repr__(self) -> str:
            raise AssertionError("a module's repr may be pages long")

    adapter = SimpleNamespace(name=name, args=SimpleNamespace(builder=Other()))
    with pytest.raises(InputError, match=rf"what was given is .*Other, where a module of {due} is due; the reference"):
        PortAdapter.made(adapter, dict)


def test_a_model_that_raised_is_named_last_and_no_module_is_to_blame() -> None:
    missing = Judgement("forward/head#0", "head", "", (2, 3), None, None, None, problems=("only PyTorch has it",))
    raised = "jittor float64: Traceback (most recent call last):\n  File net.py\nValueError: sizes do not fit\n"
    layers = LayersVerdict([missing], [], [], [raised], 1, Exact64(), Calibrated32())
    verdict = PortVerdict(("layers",), [layers], {}, "")
    assert not verdict and verdict.module == ""
    last = verdict.story().rstrip().splitlines()[-1]
    assert last.endswith("whatever comes after it is missing: ValueError: sizes do not fit")
    assert replace(verdict, verdicts=[replace(layers, crashes=[])]).module == "head"
