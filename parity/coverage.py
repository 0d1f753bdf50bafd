"""Which modules the tensors of a run speak for, and which have put out nothing."""

from __future__ import annotations

from parity.capture import ROOT
from parity.rungs import PORT, REFERENCE


def module_of(name: str) -> str:
    """Return the module whose call a tensor's name tells of: its output's, or its argument's."""
    kind, _, label = name.partition("/")
    if kind == "grad":
        return label.rpartition(".")[0] or ROOT
    if label.startswith(ROOT):
        return ROOT
    for mark in "#[(":
        label = label.split(mark)[0]
    return label


Names = dict[str, list[str]]


def idle_modules(modules: Names, called: dict[str, set[str]], resting: Names) -> list[str]:
    """Return the modules that put out nothing on a side, or that a side lacks.

    Args:
        modules: all of them, by framework.
        called: those that tensors speak for, likewise.
        resting: those that only hold others, likewise.
    """
    problems = []
    for framework, names in modules.items():
        # A module that only holds a weight never runs; the weight speaks for it.
        held = {label.rpartition(".")[0] for label in called[framework] if label not in names}
        other = modules[PORT if framework == REFERENCE else REFERENCE]
        for name in names:
            if name in resting[framework]:
                continue
            if name not in other:
                problems.append(f"{name} (only in {framework})")
            elif name not in called[framework] and name not in held:
                problems.append(f"{name} (never ran in {framework})")
    return problems
