"""Which choice of the reference belongs to which call of the port: a ReLU written otherwise is no false alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity import Port
from parity.choices import Choices
from parity.frameworks.port_choices import Call, paired

DRAW = np.random.default_rng(0)
TORCH = """
from torch import nn
from torch.nn import functional as F

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 32), nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x):
        return self.c(F.relu(self.a(x)) - F.relu(self.b(x)))

def build():
    return Model()
"""
JITTOR = """
import jittor as jt
from jittor import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 32), nn.Linear(16, 32), nn.Linear(32, 4)

    def execute(self, x):
        return self.c({expression})

def build():
    return Model()
"""


def given(**masks: Any) -> Choices:
    made = Choices()
    for label, mask in masks.items():
        made.note_mask(label.replace("__", "#").replace("_", ":"), mask)
    return Choices(made.made)


def call(label: str, x: Any) -> Call:
    return Call(label, x, np.maximum(x, 0))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_calls_find_their_choices_in_any_order(order: tuple[int, int]) -> None:
    x = DRAW.standard_normal((2, 64, 64))
    choices = given(m_relu=x[0] > 0, m_relu__1=x[1] > 0)
    labels = ["m:relu", "m:relu#1"]
    pairs = paired([call(labels[i], x[one]) for i, one in enumerate(order)], choices)
    assert pairs == {labels[i]: labels[one] for i, one in enumerate(order)}


def test_a_call_that_is_not_there_leaves_the_others_theirs() -> None:
    x = DRAW.standard_normal((2, 64, 64))
    choices = given(m_relu=x[0] > 0, m_relu__1=x[1] > 0)
    assert paired([call("m:relu", x[1])], choices) == {"m:relu": "m:relu#1"}


def test_rounding_does_not_part_them_and_another_shape_or_module_does() -> None:
    x = DRAW.standard_normal((64, 64))
    moved = x + 1e-3 * DRAW.standard_normal(x.shape)
    assert paired([call("m:relu", moved)], given(m_relu=x > 0)) == {"m:relu": "m:relu"}
    assert paired([call("m:relu", x.T[:32])], given(m_relu=x > 0)) == {}
    assert paired([call("n:relu", x)], given(m_relu=x > 0)) == {}
    assert paired([call("m:relu", DRAW.standard_normal(x.shape))], given(m_relu=x > 0)) == {}


def test_of_equal_choices_each_keeps_its_place() -> None:
    x = np.ones((4, 4))
    pairs = paired([call("m:relu", x), call("m:relu#1", x)], given(m_relu=x > 0, m_relu__1=x > 0))
    assert pairs == {"m:relu": "m:relu", "m:relu#1": "m:relu#1"}


@pytest.mark.parametrize(
    ("expression", "followed"),
    [
        ("nn.relu(self.a(x)) - nn.relu(self.b(x))", 2),
        ("-nn.relu(self.b(x)) + nn.relu(self.a(x))", 2),
        ("jt.maximum(self.a(x), 0.0) - nn.relu(self.b(x))", 1),
    ],
)
def test_a_faithful_port_passes_however_its_relus_are_written(
    expression: str, followed: int, tmp_path: Path, parity: Any
) -> None:
    (tmp_path / "choosing_torch.py").write_text(TORCH, encoding="utf8")
    (tmp_path / "choosing_jittor.py").write_text(JITTOR.format(expression=expression), encoding="utf8")
    x = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
    verdict = parity.compare(Port(f"{tmp_path}/choosing_torch.py:build", f"{tmp_path}/choosing_jittor.py:build", x))
    assert verdict, repr(verdict)
    gradients = verdict.verdicts[-1]
    assert gradients.rung == "gradients"
    assert gradients.settings["choices"] == {"given": 2, "followed": followed}
    assert ("1 of the reference's 2 choices" in str(verdict)) is (followed == 1)
