"""Names that are matched, inputs that are taken apart, and what is refused before anything runs."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest

from detr_common.errors import InputError
from parity import Optimizer, Port, compare_models
from parity.port.compare import matched
from parity.port.feed import ModelFeed, put_together
from parity.port.job import PortJob, Side
from parity.port.names import Renames, WeightsVerdict, is_ignored

VIT = "docs/examples/vit/vit_torch.py:build", "docs/examples/vit/vit_jittor.py:build"


@pytest.mark.parametrize(
    ("rules", "name", "renamed"),
    [
        ({}, "a.b.weight", "a.b.weight"),
        ({"a": "x"}, "a.b.weight", "x.b.weight"),
        ({"a": "x"}, "ab.weight", "ab.weight"),
        ({"a": "x", "a.b": "y"}, "a.b.weight", "y.weight"),
        ({"layers.*.ffn": "blocks.*.mlp"}, "layers.11.ffn.fc1.bias", "blocks.11.mlp.fc1.bias"),
        ({"layers": "blocks", "layers.*.ffn": "blocks.*.mlp"}, "layers.3.norm", "blocks.3.norm"),
        ({"*.a": "*.b", "x.a": "y"}, "x.a.w", "y.w"),
        ({"up.0": "dec2", "up.1": "dec1"}, "up.1.conv.weight", "dec1.conv.weight"),
    ],
)
def test_the_rule_with_most_parts_renames_what_lies_below(rules: dict[str, str], name: str, renamed: str) -> None:
    assert Renames(rules)(name) == renamed


def test_two_names_that_become_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"a\.weight and b\.weight of the port both become b\.weight"):
        Renames({"a": "b"}).check(["a.weight", "b.weight"])


@pytest.mark.parametrize("rules", [{"a.": "b"}, {"": "b"}, {"a": "b..c"}, {"a": "*.b"}])
def test_rules_that_make_no_sense_are_refused(rules: dict[str, str]) -> None:
    with pytest.raises(InputError, match="renames"):
        Renames(rules)


def test_what_is_ignored_is_a_module_or_all_below_it() -> None:
    assert is_ignored("a.*", "a.b")
    assert not is_ignored("a", "a.b")
    assert not is_ignored("a.*", "a.b.c")
    assert is_ignored("a.**", "a.b.c")
    assert not is_ignored("a.**", "ab.c")


def job(**rules: str) -> PortJob:
    return PortJob(Side("a:b"), Side("a:b"), ModelFeed(np.zeros(1)), renames=rules)


def test_weights_that_do_not_match_are_listed_with_what_could_mend_it() -> None:
    theirs = {"head.weight": np.zeros((2, 3)), "norm.bias": np.zeros(3)}
    own = {"head.weight": np.zeros((3, 2)), "normal.bias": np.zeros(3), "extra": np.zeros(1)}
    verdict = matched(theirs, own, job(), [])
    assert not verdict
    said = "\n".join(verdict.problems())
    assert "head.weight is [2, 3] in PyTorch and [3, 2] in Jittor" in said
    assert "only PyTorch has norm.bias; is it normal.bias? then renames={'normal.bias': 'norm.bias'}" in said
    assert "only Jittor has extra" in said
    assert verdict.matched == 0


VIT_RULES = {"layers": "blocks", "layers.*.ffn": "blocks.*.mlp", "embed": "patch_embed"}
UNET_RULES = {
    "down.0": "enc1",
    "down.1": "enc2",
    "down.2": "mid",
    "transposed": "up2",
    "up.0": "dec2",
    "up.1": "dec1",
    "head": "out",
}


def vit_weights() -> dict[str, Any]:
    shapes = {"norm1.weight": 8, "norm1.bias": 8, "attn.qkv.weight": (24, 8), "mlp.fc1.weight": (32, 8)}
    shapes |= {"norm2.weight": 8, "norm2.bias": 8, "attn.qkv.bias": 24, "mlp.fc1.bias": 32}
    weights = {f"blocks.{i}.{name}": np.zeros(shape) for i in range(3) for name, shape in shapes.items()}
    return {
        "patch_embed.weight": np.zeros((8, 3)),
        "patch_embed.bias": np.zeros(8),
        **weights,
        "head.bias": np.zeros(4),
    }


def unet_weights() -> dict[str, Any]:
    channels = {"enc1": (3, 8), "enc2": (8, 16), "mid": (16, 32), "dec2": (32, 16), "dec1": (16, 8)}
    shapes = {}
    for name, (before, after) in channels.items():
        shapes |= {f"{name}.conv1.weight": (after, before, 3, 3), f"{name}.norm1.bias": after}
        shapes |= {f"{name}.conv2.weight": (after, after, 3, 3), f"{name}.norm2.bias": after}
    shapes |= {"up2.weight": (32, 16, 2, 2), "up2.bias": 16, "out.weight": (1, 8, 1, 1), "out.bias": 1}
    return {name: np.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("weights", "given", "proposed"),
    [
        (vit_weights(), {}, VIT_RULES),
        (vit_weights(), {"layers": "blocks"}, {key: VIT_RULES[key] for key in ("layers.*.ffn", "embed")}),
        (unet_weights(), {}, UNET_RULES),
        (vit_weights(), {}, {"model.*": "*"}),
        ({f"model.{name}": one for name, one in vit_weights().items()}, {}, {"*": "model.*"}),
    ],
)
def test_one_rename_is_proposed_for_all_that_it_explains(
    weights: dict[str, Any], given: dict[str, str], proposed: dict[str, str]
) -> None:
    back = Renames({reference: port for port, reference in {**given, **proposed}.items()})
    port = {Renames(given)(back(name)): one for name, one in weights.items()}
    verdict = matched(weights, port, job(**given), [])
    assert verdict.suggested == proposed
    lacking = [name for name in weights if name not in port]
    assert lacking and sorted(verdict.explained.values()) == sorted(lacking)
    assert len(verdict.problems()) == 1, verdict.problems()
    line = f"{len(lacking)} of the {len(lacking)} weights that only PyTorch has would match with renames="
    assert verdict.reason.startswith(line)
    # What is proposed can be pasted, and then all match.
    rules = ast.literal_eval(verdict.reason.removeprefix(line))
    own = {back(name): one for name, one in weights.items()}
    assert matched(weights, {Renames(rules)(name): one for name, one in own.items()}, job(**rules), [])


def test_no_rename_is_proposed_for_other_shapes_or_for_what_matches() -> None:
    theirs = {f"a.{i}.weight": np.zeros(i + 1) for i in range(4)}
    turned = {f"b.{i}.weight": np.zeros(9) for i in range(4)}
    assert not matched(theirs, turned, job(), []).suggested
    swapped = {f"a.{i}.weight": np.zeros(4 - i) for i in range(4)}
    verdict = matched(theirs, swapped, job(), [])
    assert not verdict.suggested and len(verdict.shapes) == 4


def test_what_no_rename_explains_is_still_named() -> None:
    theirs = {**vit_weights(), "scale": np.zeros(1)}
    own = {name.replace("blocks", "layers"): one for name, one in vit_weights().items()} | {"extra": np.zeros(2)}
    problems = matched(theirs, own, job(), []).problems()
    assert problems[0].startswith("24 of the 25 weights that only PyTorch has would match with renames={'layers'")
    assert problems[1:] == ["only PyTorch has scale", "only Jittor has extra"]


def test_a_rule_that_fits_nothing_fails() -> None:
    same = {"a.weight": np.zeros(1)}
    assert matched(same, same, job(), [])
    assert not matched(same, same, job(old="a"), ["old"])


def test_a_rule_or_a_path_to_ignore_that_fits_nothing_is_told_of(parity: Any) -> None:
    renames = {"embed": "patch_embed", "layers": "blocks", "layers.*.ffn": "blocks.*.mlp", "encoder": "blocks"}
    port = Port(*VIT, np.zeros((1, 3, 32, 32), np.float32), renames=renames, ignore=["blocks.*.mpl"])
    verdict = parity.compare(port, ["weights"])
    assert verdict.verdicts[0].unused == ["encoder", "blocks.*.mpl"]


def test_no_weights_at_all_are_no_pass() -> None:
    assert not WeightsVerdict(0)
    assert WeightsVerdict(0).problems() == ["there is no weight to compare"]


@pytest.mark.parametrize(
    ("inputs", "args", "kwargs"),
    [
        (np.arange(3), 1, []),
        ((np.ones(2), [np.zeros(1), None]), 2, []),
        ({"x": np.ones(2), "deep": {"k": (np.zeros(1), 3, "s", True)}}, 0, ["x", "deep"]),
    ],
)
def test_inputs_come_back_as_they_were(inputs: Any, args: int, kwargs: list[str]) -> None:
    back = put_together(ModelFeed(inputs, {"t": np.ones(1)}).arrays(), lambda array: array)
    assert len(back[0]) == args
    assert list(back[1]) == kwargs
    assert back[2]["t"] == 1
    if kwargs:
        assert back[1]["deep"]["k"][1:] == (3, "s", True)


@pytest.mark.parametrize("inputs", [object(), (np.array(["a"]),), {"x": [b"bytes"]}])
def test_inputs_that_cannot_be_sent_are_refused(inputs: Any) -> None:
    with pytest.raises(InputError, match="inputs"):
        Port(*VIT, inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "no colon"}, "names no function"),
        ({"loss": ("a:b",)}, "give one for both, or a pair"),
        ({"loss": lambda out, target: out}, "cannot be found by a worker"),
        ({"rungs": ["layer"]}, "no such rung"),
        ({"rungs": ["losses"]}, "no loss was given"),
        ({"rungs": ["steps"], "loss": "a:b"}, "no optimizer was given"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_worker_starts(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare_models(*VIT, np.zeros((1, 3, 32, 32), np.float32), **change)


@pytest.mark.parametrize("arguments", [{"clip": 1.0}, {"lr": -1.0}, {"lr": 1.0, "clip": -1.0}, {"lr": float("nan")}])
def test_an_optimizer_without_a_rate_or_with_a_negative_number_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(InputError, match="Optimizer"):
        Optimizer("AdamW", **arguments)


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        ("docs/examples/vit/none.py:build", "no such file"),
        ("docs/examples/vit/vit_torch.py:nothing", "has no nothing; it has"),
        ("docs/examples/vit/vit_torch.py:loss", "raised|missing|positional"),
        ("no_such_module_at_all:build", "cannot be imported"),
    ],
)
def test_a_builder_that_cannot_be_used_is_named(builder: str, message: str, parity: Any) -> None:
    port = Port(builder, VIT[1], np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(Exception, match=message):
        parity.compare(port)


def test_other_parameters_in_the_optimizer_and_another_schedule_are_found(parity: Any, tmp_path: Any) -> None:
    (tmp_path / "make_torch.py").write_text(
        "def frozen(model):\n"
        "    import torch\n"
        "    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)\n"
        "def late(model):\n"
        "    import torch\n"
        "    optimizer = frozen(model)\n"
        "    return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 30)\n",
        encoding="utf8",
    )
    (tmp_path / "make_jittor.py").write_text(
        "def frozen(model):\n"
        "    import jittor as jt\n"
        "    model.cls_token.stop_grad()\n"
        "    return jt.optim.AdamW(model.parameters(), lr=1e-3)\n"
        "def late(model):\n"
        "    import jittor as jt\n"
        "    optimizer = jt.optim.AdamW(model.parameters(), lr=1e-3)\n"
        "    return optimizer, jt.lr_scheduler.StepLR(optimizer, 20)\n",
        encoding="utf8",
    )
    places = "docs/examples/vit/vit_torch.py:loss", "docs/examples/vit/vit_jittor.py:loss"
    renames = {"embed": "patch_embed", "layers": "blocks", "layers.*.ffn": "blocks.*.mlp"}
    for name, owner in (("late", "schedule"), ("frozen", "clip_grad_norm")):
        port = Port(
            *VIT,
            np.zeros((1, 3, 32, 32), np.float32),
            np.array([1]),
            loss=places,
            optimizer=(f"{tmp_path}/make_torch.py:{name}", f"{tmp_path}/make_jittor.py:{name}"),
            renames=renames,
            forced=2,
            free=1,
        )
        verdict = parity.compare(port, ["steps"])
        assert not verdict
        assert owner in [finding.owner for finding in verdict.first_failure.findings], name
    # The last is that of the frozen token; it stands in the same place in forced and free steps.
    told = [finding.problem for finding in verdict.first_failure.findings if finding.owner == "clip_grad_norm"]
    assert told[0] == "44 parameters take a gradient in PyTorch and 43 in Jittor; only in PyTorch: cls_token"
    assert len(set(told)) == 1 and len(told) == 3
