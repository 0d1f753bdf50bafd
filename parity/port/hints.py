"""What a failure can mean that no module of the model is to blame for, and where to look."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from parity.frameworks.base import CRITERION
from parity.rungs import PORT, REFERENCE
from parity.steps_verdict import Finding, StepsVerdict
from parity.verdict import LayersVerdict

# What stands for a module where none of the model is to blame.
BESIDE = (CRITERION, "optimizer", "clip_grad_norm", "schedule", "training")
SHOWN = 10

_GOTCHA = re.compile(r"\(gotcha ([a-z0-9-]+)\)")
_EXACT_NORM = "docs/examples/batch_norm.py of this project"
_MENDS = {"batch-norm-variance": f"; {_EXACT_NORM} is a batch norm that has it as PyTorch"}
_SAME_GRADIENTS = {
    "optimizer": "both optimizers were given the same gradients, so it is the optimizer: its defaults, its eps, its "
    "weight decay, or other parameters in it (gotchas adamw-weight-decay, adam-eps, sgd-dampening, unused-parameter)",
    "clip_grad_norm": "both were given the same gradients, so it is the clipping, or, where the finding names "
    "parameters, which of them the optimizer has and take a gradient (gotchas clip-norm, unused-parameter, eval-state)",
    "schedule": "it is the schedule: when it drops, or the rates of the groups (gotchas step-lr-one, "
    "group-learning-rate)",
}
_OWN_GRADIENTS = {
    CRITERION: "the loss differs",
    "clip_grad_norm": "the gradients differ, although the loss of that step does not",
    "optimizer": "the weights or buffers after it differ, although its loss and gradients do not",
}


def hints(verdicts: Sequence[Any]) -> list[str]:
    """Return what the first failure of a port can mean, line by line; none where a module of the model is to blame.

    Args:
        verdicts: of the rungs that ran, in their order.
    """
    failed = next((verdict for verdict in verdicts if not verdict), None)
    passed = {verdict.rung for verdict in verdicts if verdict}
    if isinstance(failed, StepsVerdict) and failed.findings:
        first = failed.findings[0]
        known = _GOTCHA.search(first.problem)
        if known:
            mend = _MENDS.get(known[1], "")
            return [f"That is a known difference: python -m parity gotchas {known[1]} tells what to do about it{mend}"]
        return _of_steps(first, passed, failed.settings.get("in_training", {}))
    if isinstance(failed, LayersVerdict) and failed.crashes:
        last = failed.crashes[0].strip().splitlines()[-1].strip()
        return [f"A model raised, which is to be mended first, since whatever comes after it is missing: {last}"]
    if isinstance(failed, LayersVerdict):
        first_tensor = failed.first_divergence
        if first_tensor is not None and first_tensor.owner == CRITERION:
            return _of_criterion(failed.rung, passed)
    return []


def _of_criterion(rung: str, passed: set[str]) -> list[str]:
    if rung == "gradients":
        what = (
            "The loss has another gradient with respect to the model's outputs: a detach, or a corner of its function"
        )
        return [f"{what} (gotchas gradient-abs-zero, gradient-max-tie, gradient-clamp)"]
    agree = (
        "The model's outputs agree, so it is the loss" if "layers" in passed else "If the outputs agree, the loss is"
    )
    return [
        f"{agree} itself: its reduction, its weights, its defaults, the layout of the targets "
        "(gotchas bce-reduction, l1-reduction, cross-entropy-layout, cross-entropy-weight)"
    ]


def _of_steps(first: Finding, passed: set[str], modes: Mapping[str, Any]) -> list[str]:
    if first.run == "forced":
        return [f"In the forced steps {_SAME_GRADIENTS[first.owner]}"] if first.owner in _SAME_GRADIENTS else []
    if first.owner == "training":
        normed = [name for name, one in modes.get(PORT, {}).items() if str(one["kind"]).startswith("BatchNorm")]
        return [
            "The float32 runs drift apart, and float64 does not or was not looked at: it is arithmetic; look for the "
            "largest float32 ratios of the layers and gradients, and for choices that were not followed",
            *(
                f"Jittor's own batch norm ({one}) loses digits in training; {_EXACT_NORM} does not"
                for one in normed[:1]
            ),
        ]
    if first.owner not in _OWN_GRADIENTS:
        return [_SAME_GRADIENTS["schedule"].capitalize()] if first.owner == "schedule" else []
    if "layers" not in passed:
        return ["The layers were not compared or do not agree; compare them first, since what differs there does here"]
    where = first.name.split("/")[0].replace("step", "step ")
    return [
        f"The layers agree in evaluation mode; in {where}, in training mode, {_OWN_GRADIENTS[first.owner]}",
        "Suspect is what acts only in training: the rate of a dropout, the momentum or the statistics of a batch norm, "
        "a scale that is there in training only",
        *_suspects(modes.get(REFERENCE, {}), modes.get(PORT, {})),
    ]


def _suspects(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Return the modules that do something else in training, those first that do so unlike the other side's."""
    names = list(dict.fromkeys([*theirs, *own]))
    unlike = [name for name in names if _numbers(theirs.get(name)) != _numbers(own.get(name))]
    rest = [name for name in names if name not in unlike]
    lines = [f"  {name}: {_apart(theirs.get(name), own.get(name))}" for name in unlike]
    lines += [f"  {name}: {_told(theirs[name])}, on both sides" for name in rest]
    if not lines:
        return ["  No module asks whether it is in training; functions such as dropout(x, p, True) may act there"]
    left = len(lines) - SHOWN
    return ["Modules that do something else in training:", *lines[:SHOWN], *([f"  ... and {left} more"] * (left > 0))]


def _numbers(module: Mapping[str, Any] | None) -> Any:
    return None if module is None else {key: value for key, value in module.items() if key != "kind"}


def _apart(theirs: Mapping[str, Any] | None, own: Mapping[str, Any] | None) -> str:
    sides = [(theirs, "PyTorch"), (own, "Jittor")]
    there = [f"{_told(module)} in {side}" for module, side in sides if module is not None]
    return ", ".join(there) + (" only" if len(there) == 1 else "")


def _told(module: Mapping[str, Any]) -> str:
    numbers = ", ".join(f"{key}={value:g}" for key, value in module.items() if key != "kind")
    return f"{module['kind']}({numbers})" if numbers else str(module["kind"])
