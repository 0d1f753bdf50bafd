"""Weights into a model, strictly; and a whole run of training to a file and back."""

import argparse
from pathlib import Path
from typing import Any

import jittor as jt
from jittor import Var, nn

from detr_common.optimizer_state import check_run, check_schedule_state, holds_run
from detr_common.run import Means
from detr_common.state import check_names_and_shapes
from detr_jt.optimizer import AdamW, StepLR
from weight_convert import read, read_state_dict, write
from weight_convert.contents import state_dict_of
from weight_convert.tree import rebuild


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read ``.pth``, ``.pkl`` or ``.safetensors``, a whole checkpoint or a bare state dict, into a model.

    Values are cast to the dtype of the model; nothing is loaded unless everything fits. Jittor's own
    ``load_state_dict`` passes over a missing name and keeps the old value where a shape differs.

    Raises:
        InputError: the file cannot be read, or a name is missing, unexpected or of another shape; names are listed.
    """
    values = read_state_dict(path)
    set_weights(model, values, str(path))


def set_weights(model: nn.Module, values: dict[str, Any], where: str) -> None:
    """Put arrays in the place of a model's weights, cast to its dtype.

    Args:
        model: the detector.
        values: an array for each entry of its state dict.
        where: the file that they are from, for the message.

    Raises:
        InputError: a name is missing, unexpected or of another shape; names are listed, and nothing has changed.
    """
    state = model.state_dict()
    values = check_names_and_shapes(values, {name: tuple(value.shape) for name, value in state.items()}, where)
    for name, target in state.items():
        target.update(jt.array(values[name], dtype=str(target.dtype)))
    jt.sync_all()


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: AdamW,
    lr_scheduler: StepLR,
    epoch: int,
    args: argparse.Namespace,
    means: Means | None = None,
) -> None:
    """Write all that training needs to go on, in the layout of the published checkpoints; whole or not at all.

    Args:
        path: ``.pkl``, or ``.pth`` where PyTorch is installed; a file that is there is replaced when the new one is
            safely on the disk.
        model: the detector.
        optimizer: with its moments.
        lr_scheduler: of its rates.
        epoch: the last that is over, from 0.
        args: the options of the run.
        means: of the epoch that has begun since and is not over.

    Raises:
        InputError: the file cannot be written; the one that was there is whole.
    """
    parts = {"model": dict(model.state_dict()), "optimizer": optimizer.state_dict()}
    tree = {**parts, "lr_scheduler": lr_scheduler.state_dict(), "epoch": epoch, "args": args}
    if means is not None:
        tree["begun"] = {"count": means.count, "sums": means.sums}
    write(rebuild(tree, lambda value, place: value.numpy() if isinstance(value, Var) else value), path)


def resume(path: str | Path, model: nn.Module, optimizer: AdamW, lr_scheduler: StepLR) -> tuple[int, Means] | None:
    """Go on from a checkpoint that either package has saved, or PyTorch's ``torch.save``.

    Returns:
        The number of the epoch to go on with, and the means of its steps that were taken already; None where the file
        holds weights alone, with which a new run begins.

    Raises:
        InputError: the file cannot be read, holds a part of a run only, or is of another model or optimizer; what
            differs is listed.
    """
    tree = read(path, loader="numpy")
    if not holds_run(tree):
        set_weights(model, state_dict_of(tree), str(path))
        return None
    tree = check_run(tree, str(path))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    check_names_and_shapes(tree["model"], shapes, str(path))
    check_schedule_state(tree["lr_scheduler"], len(lr_scheduler.base_lrs))
    optimizer.load_state_dict(tree["optimizer"])
    lr_scheduler.load_state_dict(tree["lr_scheduler"])
    set_weights(model, tree["model"], str(path))
    begun = tree.get("begun", {"count": 0, "sums": {}})
    return int(tree["epoch"]) + 1, Means(int(begun["count"]), dict(begun["sums"]))
