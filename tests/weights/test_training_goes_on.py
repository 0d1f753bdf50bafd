"""A run that is stopped, converted and continued elsewhere stays on the path of the run that never stopped.

Here the other side is AdamW written down in NumPy, on what ``pickle.load`` finds in the ``.pkl`` and nothing else: it
shows that the file holds all that an optimizer needs. Gradients are fixed.
"""

import math
import pickle

import numpy as np
import pytest
import torch

from detr_common.options import default_args
from fixtures import shapes
from fixtures.streams import symmetric
from weight_convert import write
from weight_convert.convert import convert

STEPS, STOP, DROP, CLIP = 8, 4, 3, 0.1
ARGS = default_args(
    backbone="resnet18", enc_layers=1, dec_layers=1, hidden_dim=16, nheads=2, dim_feedforward=8, num_queries=3
)
# The heads and the transformer; the backbone's first stage stands for the group with a rate of its own.
SHAPES = {
    name: shape
    for name, shape in shapes(ARGS).items()
    if not name.startswith("backbone.") or (".layer1." in name and ".conv" in name)
}
GROUPS = [[name for name in SHAPES if ("backbone" in name) == backbone] for backbone in (False, True)]
IDLE = "query_embed.weight"  # never has a gradient, so the optimizer keeps nothing of it


def initial():
    return {name: symmetric(0, name, shape).astype(np.float64) for name, shape in SHAPES.items()}


def gradients(step):
    """Of one step, clipped to a global norm; from one parameter to another nine orders of magnitude apart."""
    drawn = {
        name: symmetric(step, f"gradient/{name}", shape).astype(np.float64) * 10.0 ** (-(index % 10))
        for index, (name, shape) in enumerate(SHAPES.items())
        if name != IDLE
    }
    norm = math.sqrt(sum(float(np.square(value).sum()) for value in drawn.values()))
    return {name: value * min(1.0, CLIP / (norm + 1e-6)) for name, value in drawn.items()}


class InTorch:
    """PyTorch's own AdamW and StepLR, as DETR uses them."""

    def __init__(self, saved=None):
        self.weights = {name: torch.nn.Parameter(torch.from_numpy(value)) for name, value in initial().items()}
        groups = [{"params": [self.weights[name] for name in names]} for names in GROUPS]
        groups[1]["lr"] = 1e-5
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=1e-4)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, DROP)
        self.epoch = 0
        if saved is not None:
            with torch.no_grad():
                for name, weight in self.weights.items():
                    weight.copy_(saved["model"][name])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.scheduler.load_state_dict(saved["lr_scheduler"])
            self.epoch = saved["epoch"]

    def run(self, until):
        while self.epoch < until:
            for name, gradient in gradients(self.epoch).items():
                self.weights[name].grad = torch.from_numpy(gradient)
            self.optimizer.step()
            self.scheduler.step()
            self.epoch += 1
        return self

    def save(self, path):
        state = {name: weight.detach() for name, weight in self.weights.items()}
        parts = {"optimizer": self.optimizer.state_dict(), "lr_scheduler": self.scheduler.state_dict()}
        torch.save({"model": state, **parts, "epoch": self.epoch, "args": ARGS}, path)

    def arrays(self):
        return {name: weight.detach().numpy() for name, weight in self.weights.items()}


class InNumPy:
    """AdamW and StepLR from their published formulas, on the tree of a ``.pkl``."""

    def __init__(self, tree):
        self.tree = tree

    def run(self, until):
        while self.tree["epoch"] < until:
            found = gradients(self.tree["epoch"])
            for names, group in zip(GROUPS, self.tree["optimizer"]["param_groups"], strict=True):
                for name, index in zip(names, group["params"], strict=True):
                    if name in found:
                        self.update(name, found[name], self.tree["optimizer"]["state"].get(index), group)
            self.schedule()
            self.tree["epoch"] += 1
        return self

    def update(self, name, gradient, kept, group):
        first, second = group["betas"]
        kept["step"] += 1
        kept["exp_avg"] += (1 - first) * (gradient - kept["exp_avg"])
        kept["exp_avg_sq"] += (1 - second) * (gradient**2 - kept["exp_avg_sq"])
        step = float(kept["step"])
        weight = self.tree["model"][name]
        weight *= 1 - group["lr"] * group["weight_decay"]
        corrected = np.sqrt(kept["exp_avg_sq"] / (1 - second**step)) + group["eps"]
        weight -= group["lr"] * kept["exp_avg"] / (1 - first**step) / corrected

    def schedule(self):
        schedule = self.tree["lr_scheduler"]
        schedule["last_epoch"] += 1
        schedule["_step_count"] += 1
        power = schedule["last_epoch"] // schedule["step_size"]
        rates = [base * schedule["gamma"] ** power for base in schedule["base_lrs"]]
        schedule["_last_lr"] = rates
        for group, rate in zip(self.tree["optimizer"]["param_groups"], rates, strict=True):
            group["lr"] = rate

    def arrays(self):
        return self.tree["model"]


def unpickled(path):
    with path.open("rb") as file:
        return pickle.load(file)


def distance(left, right):
    """The largest difference, in parts of how far the parameter has moved since the beginning."""
    assert list(left) == list(right) == list(SHAPES)
    start = initial()
    return max(np.abs(left[name] - right[name]).max() / np.abs(right[name] - start[name]).max() for name in SHAPES
               if name != IDLE)  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    """The run that never stops."""
    return InTorch().run(STEPS)


@pytest.fixture
def stopped(tmp_path):
    InTorch().run(STOP).save(tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "b.pkl")
    return tmp_path


def test_from_pytorch_onwards(stopped, whole):
    tree = unpickled(stopped / "b.pkl")
    assert len(tree["optimizer"]["state"]) == len(SHAPES) - 1
    assert distance(InNumPy(tree).run(STEPS).arrays(), whole.arrays()) < 1e-11


def test_and_back_to_pytorch(stopped, whole):
    write(InNumPy(unpickled(stopped / "b.pkl")).run(STOP + 2).tree, stopped / "c.pkl")
    convert(stopped / "c.pkl", stopped / "d.pth")
    with torch.serialization.safe_globals([type(ARGS)]):
        saved = torch.load(stopped / "d.pth", weights_only=True)
    assert saved["args"] == ARGS
    found = InTorch(saved).run(STEPS)
    assert distance(found.arrays(), whole.arrays()) < 1e-11
    assert [group["lr"] for group in found.optimizer.param_groups] == pytest.approx([1e-6, 1e-7], rel=1e-12)
    assert found.scheduler.state_dict() == whole.scheduler.state_dict()


@pytest.mark.parametrize("part", ["step", "exp_avg", "exp_avg_sq", "lr", "last_epoch"])
def test_without_any_part_of_the_state_the_path_is_left(stopped, whole, part):
    """By far more than the bound: each part is needed, and the comparison sees it."""
    tree = unpickled(stopped / "b.pkl")
    if part == "lr":
        tree["optimizer"]["param_groups"][1]["lr"] = 1e-4
    elif part == "last_epoch":
        tree["lr_scheduler"]["last_epoch"] = 0
    else:
        for kept in tree["optimizer"]["state"].values():
            kept[part] *= 0
    assert distance(InNumPy(tree).run(STEPS).arrays(), whole.arrays()) > 1e-3
