"""Weights into a model, strictly."""

from pathlib import Path

import torch
from torch import nn

from detr_common.state import check_names_and_shapes
from weight_convert import read_state_dict


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read ``.pth``, ``.pkl`` or ``.safetensors``, a whole checkpoint or a bare state dict, into a model.

    Values are cast to the dtype of the model; nothing is loaded unless everything fits.

    Raises:
        InputError: the file cannot be read, or a name is missing, unexpected or of another shape; names are listed.
    """
    values = read_state_dict(path)
    state = model.state_dict()
    values = check_names_and_shapes(values, {name: tuple(t.shape) for name, t in state.items()}, str(path))
    with torch.no_grad():
        for name, target in state.items():
            target.copy_(torch.from_numpy(values[name]))
