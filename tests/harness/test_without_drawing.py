"""Models are built without drawing weights where all are loaded afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from parity.frameworks.torch_settings import without_drawing


def test_no_random_number_is_drawn_and_afterwards_they_are_again() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with without_drawing():
        layers = nn.Linear(3, 4), nn.Conv2d(3, 4, 3), nn.Embedding(3, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert [tuple(layer.weight.shape) for layer in layers] == [(4, 3), (4, 3, 3, 3), (3, 4)]
    nn.Linear(3, 4)
    assert not torch.equal(torch.get_rng_state(), before)


def test_a_model_that_cannot_be_built_leaves_drawing_as_it_was() -> None:
    usual = dict(vars(nn.init))
    with pytest.raises(TypeError), without_drawing():
        nn.Linear()
    assert vars(nn.init) == usual
