"""The batch norm of the examples is as exact in float32 as PyTorch's, which Jittor's own is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity import Optimizer, Port
from parity.port.hints import hints

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
TORCH = """
from torch import nn
from torch.nn import functional as F

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 16, 3, padding=1, bias=BIAS), nn.BatchNorm2d(16)
        self.second, self.norm2 = nn.Conv2d(16, 16, 3, padding=1, bias=BIAS), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = F.relu(self.norm1(self.first(x)))
        x = F.relu(self.norm2(self.second(x)))
        return self.head(x.mean((2, 3)))

def build():
    return Model()

def loss(logits, labels):
    return F.cross_entropy(logits, labels)
"""
AS_IN_JITTOR = {
    "from torch import nn\nfrom torch.nn import functional as F": "from jittor import nn\n{imports}",
    "nn.BatchNorm2d": "{norm}",
    "forward": "execute",
    "F.relu": "nn.relu",
    "F.cross_entropy": "nn.cross_entropy_loss",
}


def stepped(folder: Path, parity: Any, imports: str, norm: str, bias: bool = False, lr: float = 1e-3) -> Any:
    """The verdict of ten steps of training in both frameworks."""
    reference = text = TORCH.replace("BIAS", str(bias))
    for theirs, own in AS_IN_JITTOR.items():
        text = text.replace(theirs, own.format(imports=imports, norm=norm))
    (folder / "normed_torch.py").write_text(reference, encoding="utf8")
    (folder / "normed_jittor.py").write_text(text, encoding="utf8")
    builders, losses = (
        [f"{folder}/normed_{name}.py:{what}" for name in ("torch", "jittor")] for what in ("build", "loss")
    )
    images = np.random.default_rng(4).standard_normal((4, 3, 12, 12)).astype(np.float32)
    labels, recipe = np.array([0, 3, 1, 4]), Optimizer("AdamW", lr=lr, weight_decay=0.01)
    return parity.compare(Port(*builders, images, labels, loss=tuple(losses), optimizer=recipe), ["steps"]).verdicts[-1]


@pytest.mark.parametrize(("bias", "lr"), [(False, 1e-3), (True, 1e-2)])
def test_that_of_the_examples_is(bias: bool, lr: float, tmp_path: Path, parity: Any) -> None:
    beside = f"import sys\nsys.path.insert(0, {str(EXAMPLES)!r})\nfrom batch_norm import BatchNorm"
    steps = stepped(tmp_path, parity, beside, "BatchNorm", bias, lr)
    assert steps, steps.reason
    assert max(step.ratio for step in steps.steps) < 1.8
    # In front of a batch norm a bias has no gradient but rounding.
    assert bool(steps.absolute) is bias
    assert all(name.endswith((".bias", ".running_mean")) for name in steps.absolute)


def test_jittors_own_is_not(tmp_path: Path, parity: Any) -> None:
    steps = stepped(tmp_path, parity, "", "nn.BatchNorm2d")
    assert max(step.ratio for step in steps.steps) > 2
    drift = replace(steps, findings=tuple(one for one in steps.findings if one.owner == "training"))
    assert "Jittor's own batch norm (norm1) loses digits" in hints([drift])[-1]
