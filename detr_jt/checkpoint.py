"""Weights into a model, strictly."""

from pathlib import Path

import jittor as jt
from jittor import nn

from detr_common.state import check_names_and_shapes
from weight_convert import read_state_dict


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read ``.pth``, ``.pkl`` or ``.safetensors``, a whole checkpoint or a bare state dict, into a model.

    Values are cast to the dtype of the model; nothing is loaded unless everything fits. Jittor's own
    ``load_state_dict`` passes over a missing name and keeps the old value where a shape differs.

    Raises:
        InputError: the file cannot be read, or a name is missing, unexpected or of another shape; names are listed.
    """
    values = read_state_dict(path)
    state = model.state_dict()
    values = check_names_and_shapes(values, {name: tuple(v.shape) for name, v in state.items()}, str(path))
    for name, target in state.items():
        target.update(jt.array(values[name], dtype=str(target.dtype)))
    jt.sync_all()
