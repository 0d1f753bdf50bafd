"""Optimizers without the wrappers that import PyTorch's compiler take the same steps, and do not import it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from parity.frameworks.torch_port_optim import unwrapped

# The one that is left out takes sparse gradients alone.
KINDS = sorted(
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name not in ("Optimizer", "SparseAdam")
)

STEPS = """
import sys, torch
from detr_pt.optimizer import AdamW
from parity.frameworks.torch_port_optim import unwrapped

def train(optimizer, p):
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for _ in range(2):
        optimizer.zero_grad()
        (p**2).sum().backward()
        optimizer.step()
        schedule.step()
    optimizer.load_state_dict(optimizer.state_dict())

p = torch.nn.Parameter(torch.ones(3))
train(AdamW([{"params": [("p", p)], "lr": 0.1}], 0.01), p)
train(unwrapped(torch.optim.SGD)([p], lr=0.1), p)
assert "torch._dynamo" not in sys.modules
"""


def trained(kind: type[torch.optim.Optimizer]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    p = torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4))
    optimizer = kind([p], lr=0.01)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (p**2).sum()
        value.backward()
        return value

    for _ in range(3):
        loss()
        optimizer.step(loss)
    return p.detach(), [value for value in optimizer.state[p].values() if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("name", KINDS)
def test_steps_are_the_same(name: str) -> None:
    kind = getattr(torch.optim, name)
    (left, states), (right, others) = trained(kind), trained(unwrapped(kind))
    assert torch.equal(left, right) and not torch.equal(left, torch.linspace(-1, 1, 12).reshape(3, 4))
    assert len(states) == len(others) and all(map(torch.equal, states, others))
    assert unwrapped(kind).__name__ == name


def test_the_compiler_is_not_imported() -> None:
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
