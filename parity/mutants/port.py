"""Plants any fault of the catalogue in a detr_jt model, and takes away what would outlive the model."""

from __future__ import annotations

from detr_common.errors import InputError
from parity.mutants import gradients as _gradients  # noqa: F401 - registers its faults
from parity.mutants import layers as _layers  # noqa: F401
from parity.mutants import losses as _losses  # noqa: F401
from parity.mutants import masks as _masks  # noqa: F401
from parity.mutants import sized
from parity.mutants import steps as _steps  # noqa: F401
from parity.mutants.planting import PLANTS, Modules, restore


def plant(name: str, modules: Modules) -> None:
    """Plant a fault.

    Args:
        name: key of ``parity.mutants.CATALOGUE``, or ``KEY=SIZE``.
        modules: all modules of the model by name, the root, criterion and post-processing included. A fault of the
            optimizer, which is in no module yet, is handed the root.

    Raises:
        InputError: the model lacks the module in which the fault sits, so that its pass would say nothing.
    """
    mutant = sized(name)
    place = mutant.at or mutant.module
    if place not in modules and mutant.rung != "steps":
        raise InputError(f"{name}: sits in {place}, which this model has not; take a model that has it")
    module = modules.get(place, modules["(root)"])
    PLANTS[mutant.name](*((module, mutant.size) if mutant.size else (module,)))


def unplant() -> None:
    """Undo what the last fault changed outside its model."""
    restore()
