"""Failures that no module of the model is to blame for: what they can mean is said, and known differences are named."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from parity import Optimizer, Port
from parity.explained import LISTED, biased_of, other_parameters, owner_of
from parity.frameworks.modes import in_training
from parity.policy import Calibrated32, Exact64, Steps
from parity.port.hints import SHOWN, hints
from parity.port.verdict import PortVerdict
from parity.steps_verdict import Finding, StepsVerdict
from parity.trace import Entry
from parity.verdict import Judgement, LayersVerdict

TORCH = """
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.drop(self.bn(self.conv(x))).mean((2, 3)))

def build():
    return Model()

def loss(logits, labels):
    return nn.functional.cross_entropy(logits, labels)
"""
JITTOR = """
from jittor import nn

class Model(nn.Module):
    def __init__(self, p, scale):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.drop, self.head = nn.Dropout(p), nn.Linear(8, 4)
        self.scale = scale

    def execute(self, x):
        return self.scaled(self.head(self.drop(self.bn(self.conv(x))).mean((2, 3))))

    def scaled(self, x):
        return x * self.scale if self.is_train else x

def build(p=0.1, scale=1.0):
    return Model(p, scale)

def loss(logits, labels):
    return nn.cross_entropy_loss(logits, labels)
"""
EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
SUSPECT = "Suspect is what acts only in training: the rate of a dropout, the momentum or the statistics of a batch norm"


def described(folder: Path, **options: float) -> Port:
    files = {"torch": TORCH, "jittor": JITTOR}
    for name, text in files.items():
        (folder / f"hints_{name}.py").write_text(text, encoding="utf8")
    builders, losses = ([f"{folder}/hints_{name}.py:{what}" for name in files] for what in ("build", "loss"))
    return Port(
        *builders,
        np.random.default_rng(0).standard_normal((4, 3, 7, 9)).astype(np.float32),
        np.array([1, 2, 3, 0]),
        loss=tuple(losses),
        optimizer=Optimizer("AdamW", lr=1e-3, weight_decay=0.1),
        options=({}, options),
        forced=1,
        free=2,
    )


def test_a_biased_running_variance_is_told_as_what_it_is(tmp_path: Path, parity: Any) -> None:
    verdict = parity.compare(described(tmp_path), ["layers", "steps"])
    assert not verdict and verdict.module == "bn"
    first = verdict.first_failure.findings[0]
    assert first.name == "step0/param/bn.running_var" and first.run == "free"
    # Four images, whose maps the convolution leaves at 5 x 7.
    assert "(n - 1) / n of PyTorch's with n = 140" in first.problem
    assert "(gotcha batch-norm-variance)" in str(verdict)
    assert "python -m parity gotchas batch-norm-variance" in str(verdict)


def test_the_batch_norm_of_the_examples_passes(tmp_path: Path, parity: Any) -> None:
    port = described(tmp_path)
    file = tmp_path / "hints_jittor.py"
    own = f"import sys\nsys.path.insert(0, {str(EXAMPLES)!r})\nfrom batch_norm import BatchNorm\n{file.read_text()}"
    file.write_text(own.replace("nn.BatchNorm2d(8)", "BatchNorm(8)"), encoding="utf8")
    verdict = parity.compare(port, ["layers", "losses", "gradients", "steps"])
    assert verdict, str(verdict)


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"p": 0.3}, "  drop: Dropout(p=0.1) in PyTorch, Dropout(p=0.3) in Jittor"),
        ({"scale": 1.5}, "  (root): Model in Jittor only"),
    ],
    ids=["rate", "scale"],
)
def test_what_acts_only_in_training_is_listed(
    options: dict[str, float], first: str, tmp_path: Path, parity: Any
) -> None:
    verdict = parity.compare(described(tmp_path, **options), ["layers", "losses", "steps"])
    assert not verdict and verdict.module == "criterion"
    for story in (str(verdict), verdict.story("criterion")):
        lines = story.splitlines()
        place = lines.index("The layers agree in evaluation mode; in step 0, in training mode, the loss differs")
        assert lines[place + 1].startswith(SUSPECT)
        assert lines[place + 2] == "Modules that do something else in training:"
        rest = lines[place + 3 : place + 6]
        assert first in rest and "  bn: BatchNorm2d(momentum=0.1), on both sides" in rest
    assert (
        str(verdict).splitlines()[-1]
        == "Next: look at criterion; verdict.story('criterion') lists what was found of it"
    )
    shell = Console(file=StringIO(), width=100)
    verdict.print(shell, command="python -m parity port bn.py")
    last = shell.file.getvalue().splitlines()[-1]
    assert last == "Next: look at criterion; python -m parity port bn.py --show criterion lists what was found of it"
    assert verdict.as_dict()["hints"] == hints(verdict.verdicts)
    verdict.write_html(tmp_path / "report.html")
    assert "  bn: BatchNorm2d(momentum=0.1), on both sides" in (tmp_path / "report.html").read_text(encoding="utf-8")
    # Of its findings all are listed, of others none.
    assert "step1/loss/loss (criterion)" in verdict.story("criterion")
    assert "(clip_grad_norm)" not in verdict.story("criterion")


def layers(passes: bool, rung: str = "layers", owner: str = "criterion") -> LayersVerdict:
    one = Judgement("loss/loss", owner, "", (), None, 1.0, 1.0, () if passes else ("wrong",))
    return LayersVerdict([one], [], [], [], 1, Exact64(), Calibrated32(), rung=rung)


def steps(owner: str, run: str = "free", name: str = "step0/x", settings: Any = None) -> StepsVerdict:
    found = (Finding(name, owner, "wrong", 9.0, run),)
    return StepsVerdict(found, (), (), {"forced": 1, "free": 1}, {}, (), Steps(), settings or {})


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([layers(True), layers(False, "losses")], "The model's outputs agree, so it is the loss itself"),
        ([layers(False, "losses")], "If the outputs agree"),
        ([layers(True), layers(False, "gradients")], "The loss has another gradient"),
        ([layers(True), steps("optimizer", "forced")], "adamw-weight-decay"),
        ([layers(True), steps("clip_grad_norm", "forced")], "clip-norm"),
        ([layers(True), steps("schedule", "forced")], "step-lr-one"),
        (
            [layers(True), steps("clip_grad_norm", name="step3/norm")],
            "in step 3, in training mode, the gradients differ",
        ),
        ([layers(True), steps("optimizer")], "the weights or buffers after it differ"),
        ([steps("criterion")], "compare them first"),
        ([layers(True), steps("training")], "it is arithmetic"),
    ],
)
def test_each_pseudo_module_has_a_meaning(verdicts: list[Any], said: str) -> None:
    lines = hints(verdicts)
    assert said in lines[0]
    assert any(lines[0] in line for line in str(PortVerdict(("layers",), verdicts)).splitlines())


def test_a_pass_and_a_module_that_is_to_blame_need_no_hint() -> None:
    assert not hints([]) and not hints([layers(True)])
    assert not hints([layers(False, owner="blocks.0")]) and not hints([layers(True), steps("bn")])


def test_many_modules_are_counted() -> None:
    modes = {f"drop{i}": {"kind": "Dropout", "p": 0.1} for i in range(SHOWN + 3)}
    lines = hints([layers(True), steps("criterion", settings={"in_training": {"torch": modes, "jittor": modes}})])
    assert len(lines) == 3 + SHOWN + 1 and lines[-1] == "  ... and 3 more"
    silent = hints([layers(True), steps("criterion")])
    assert silent[-1].startswith("  No module asks whether it is in training")


class Base:
    """What a framework's class of all modules is: that it knows its mode makes no module a suspect."""

    def train(self) -> None:
        self.training = True


class Asking(Base):
    p = 0.25

    def forward(self) -> Any:
        return [(lambda: self.training) for _ in range(2)]


class Constructed(Base):
    def __init__(self) -> None:
        self.training = False


class Inherits(Asking):
    p = True  # no rate


def test_modules_that_ask_for_their_mode_are_known_by_their_code() -> None:
    named = [("a", Asking()), ("b", Constructed()), ("c", Inherits()), ("d", Base())]
    assert in_training(named, Base) == {"a": {"kind": "Asking", "p": 0.25}, "c": {"kind": "Inherits"}}


def statistics(n: int, momentum: float, before: Any) -> tuple[Any, Any]:
    """Return the running variances of the port and of PyTorch after a step."""
    variance = np.random.default_rng(n).uniform(0.5, 3, before.shape)
    kept = (1 - momentum) * before
    return kept + momentum * variance, kept + momentum * variance * n / (n - 1)


@pytest.mark.parametrize("n", [2, 4, 140, 100_352])
@pytest.mark.parametrize("momentum", [0.1, 0.01, 1.0])
def test_a_biased_variance_is_seen_whatever_n_and_momentum_are(n: int, momentum: float) -> None:
    before = np.random.default_rng(1).uniform(0.5, 2, 16)
    port, truth = statistics(n, momentum, before)
    count = biased_of(port, truth, before)
    assert count is not None and round(count) == n
    # Where it is not known what was there before, a new model is taken for granted.
    port, truth = statistics(n, momentum, np.ones(16))
    count = biased_of(port, truth, None)
    assert count is not None and round(count) == n


def test_another_momentum_or_variance_is_no_biased_one() -> None:
    before = np.random.default_rng(1).uniform(0.5, 2, 16)
    port, truth = statistics(8, 0.1, before)
    assert biased_of(statistics(8, 0.2, before)[1], truth, before) is None
    assert biased_of(truth * 0.999 + np.random.default_rng(2).normal(0, 1e-3, 16), truth, before) is None
    assert biased_of(truth, port, before) is None
    assert biased_of(port[:2], truth[:2], before[:2]) is None
    assert biased_of(port, truth, before[:3]) is None
    assert biased_of(np.full(16, np.nan), truth, before) is None


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("step0/param/layer1.0.bn.running_var", "layer1.0.bn"),
        ("step0/param/running_mean", "(root)"),
        ("step0/param/bn.weight", "optimizer"),
        ("step0/param/not_running_var", "optimizer"),
    ],
)
def test_running_statistics_are_their_modules_and_not_the_optimizers(name: str, owner: str) -> None:
    assert owner_of(name, "optimizer") == owner


def norms(*names: str, told: bool = True) -> Entry:
    return Entry("step0/norm", "clip_grad_norm", "", np.ones(1 + len(names)), inputs=", ".join(names) if told else "")


def test_parameters_of_one_side_are_named_and_many_are_counted() -> None:
    assert not other_parameters(norms("a", "b"), norms("a", "b"))
    assert other_parameters(norms("a", "c"), norms("a", "b")).endswith("; only in PyTorch: b; only in Jittor: c")
    many = [f"p{i:02}" for i in range(LISTED + 5)]
    said = other_parameters(norms(*many), norms("p00"))
    assert said.startswith(f"1 parameters take a gradient in PyTorch and {len(many)} in Jittor; only in Jittor: p01, ")
    assert said.endswith("p10 and 4 more")
    unnamed = other_parameters(norms("a", told=False), norms("a", "b", told=False))
    assert unnamed == "2 parameters take a gradient in PyTorch and 1 in Jittor"
