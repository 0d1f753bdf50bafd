"""A parameter that is zero by symmetry holds rounding: it is judged by its learning rate, and told of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from parity.policy import Steps
from parity.steps import _Comparison
from parity.steps_report import print_steps


def comparison(rate: float = 1e-4) -> Any:
    job: Any = SimpleNamespace(model=SimpleNamespace(rate=lambda name: rate), policy=Steps(), forced=0, free=1, seed=0)
    return _Comparison(job)


@pytest.mark.parametrize(
    ("name", "value", "truth", "told", "passes"),
    [
        ("step0/param/a.bias", 3e-17, 1e-17, ["param/a.bias"], True),  # rounding on both sides
        ("step0/param/a.bias", 3e-6, 1e-6, [], False),  # no rounding
        ("step0/param/a.bias", 1.0, 1.0 + 1e-12, [], True),  # of an ordinary size
        ("step0/param/a.bias", 1.0, 1.0 + 1e-6, [], False),
        ("step0/loss/total", 3e-17, 1e-17, [], False),  # no parameter
    ],
)
def test_only_what_is_rounding_is_judged_by_the_rate(
    name: str, value: float, truth: float, told: list[str], passes: bool
) -> None:
    run = comparison()
    error = run._relative(name, np.array([value]), np.array([truth]))
    assert (error <= run.policy.bound) is passes
    assert list(run.absolute) == told


def test_it_is_listed_in_the_verdict_and_in_its_story() -> None:
    run = comparison()
    run._relative("step0/param/mask_head.lay5.bias", np.array([3e-17]), np.array([1e-17]))
    verdict = run.verdict({})
    assert verdict.absolute == ("param/mask_head.lay5.bias",)
    assert verdict.as_dict()["absolute"] == ["param/mask_head.lay5.bias"]
    console = Console(record=True, width=120, file=None, quiet=False)
    with console.capture() as said:
        print_steps(verdict, console)
    assert "Moved by rounding alone, judged by its learning rate: param/mask_head.lay5.bias" in said.get()
