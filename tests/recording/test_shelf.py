"""Tensors of a recorded pass are taken by their names, each once, and what is not what was recorded is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_up import make

from detr_common.errors import InputError
from parity.recording.layout import read_recording
from parity.recording.shelf import Shelf

SHAPES = [(3, 2), (4,), (), (5, 1), (2,)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path, SHAPES)[0]


def shelf(folder: Path) -> Shelf:
    return Shelf(folder, read_recording(folder), "layers/float64")


def test_tensors_come_by_name_and_each_once(folder: Path) -> None:
    one = shelf(folder)
    for number in (3, 0, 4):
        name = f"forward/m{number}"
        assert name in one
        entry, place = one.take(name)
        assert (entry.name, entry.owner, place) == (name, f"m{number}", number)
        np.testing.assert_array_equal(entry.array, np.full(SHAPES[number], 1.0 + number), strict=True)
        assert name not in one
        with pytest.raises(KeyError):
            one.take(name)
    assert "forward/none" not in one


def test_the_rest_comes_in_order_and_takes_no_memory(folder: Path) -> None:
    one = shelf(folder)
    one.take("forward/m1")
    rest = list(one.rest())
    assert [place for _, place in rest] == [0, 2, 3, 4]
    for entry, place in rest:
        assert (entry.array.shape, entry.array.dtype) == (SHAPES[place], np.float64)
        assert not any(entry.array.strides)
    assert not list(one.rest())


@pytest.mark.parametrize("take", [lambda one: one.take("forward/m0"), lambda one: list(one.rest())])
def test_a_tensor_that_was_changed_is_refused(folder: Path, take: object) -> None:
    path = folder / "layers/float64/shard-00000.safetensors"
    content = bytearray(path.read_bytes())
    at = content.index(np.float64(1).tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert callable(take)
    with pytest.raises(InputError, match=r"forward/m0 is not what was recorded"):
        take(shelf(folder))


def test_a_pass_that_was_not_recorded_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="has no losses/float64"):
        Shelf(folder, read_recording(folder), "losses/float64")
