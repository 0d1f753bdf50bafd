"""bfloat16 in a .pkl: float32 for others, bfloat16 for us; and numbers of NumPy in a .pth."""

import hashlib

import ml_dtypes
import numpy as np
import pytest
import torch

from weight_convert import CheckpointError, bfloat, read, write
from weight_convert.emit import JITTOR_END

EVERY = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16)


def test_every_value_keeps_its_bits(tmp_path):
    path = tmp_path / "a.pkl"
    write({"f": np.ones(2, "f4"), "b": EVERY, "g": np.ones(2, "f4")}, path)
    found = read(path)
    assert [value.dtype.name for value in found.values()] == ["float32", "bfloat16", "float32"]
    assert found["b"].tobytes() == EVERY.tobytes()


def test_widened_is_the_same_number():
    with np.errstate(invalid="ignore"):
        expected = EVERY.astype(np.float32)
    assert np.array_equal(bfloat.widen(EVERY), expected, equal_nan=True)


def test_an_array_that_does_not_lie_in_one_piece_is_widened_in_its_order():
    whole = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4).astype(ml_dtypes.bfloat16)
    for array in (whole.T, whole[:, ::2], whole.transpose(1, 2, 0), whole[::-1], whole[0].T):
        assert np.array_equal(bfloat.widen(array), array.astype(np.float32))


def test_a_tied_array_is_counted_once(tmp_path):
    path, tied = tmp_path / "a.pkl", EVERY[:3].copy()
    write({"a": tied, "b": [tied, np.ones(1, "f4")], "c": tied, "d": EVERY[7:9]}, path)
    found = read(path)
    assert found["a"] is found["c"] is found["b"][0] and found["b"][1].dtype == np.float32
    assert found["d"].tobytes() == EVERY[7:9].tobytes()


def with_note(path, note):
    """The file with another note, and a checksum that fits."""
    body = path.read_bytes()[:-28]
    body = body[: body.rindex(b"\x80\x04")] + note
    path.write_bytes(body + hashlib.sha1(body).digest() + JITTOR_END)


@pytest.mark.parametrize(
    "note",
    [b"\x80\x04N.", b"\x80\x04}X\x08\x00\x00\x00bfloat16X\x01\x00\x00\x00as.", b"junk", b"\x80\x04}.N", b"\x80\x04}"],
)
def test_a_damaged_note_is_an_error(tmp_path, note):
    path = tmp_path / "a.pkl"
    write({"b": EVERY[:3]}, path)
    with_note(path, note)
    with pytest.raises(CheckpointError):
        read(path)


def test_a_note_on_other_numbers_is_an_error(tmp_path):
    path = tmp_path / "a.pkl"
    write({"f": np.full(2, 0.1, "f4"), "b": EVERY[:3]}, path)
    with_note(path, b"\x80\x04}X\x08\x00\x00\x00bfloat16](K\x00es.")
    with pytest.raises(CheckpointError, match="other numbers"):
        read(path)


@pytest.mark.parametrize("loader", ["torch", "numpy"])
def test_numbers_of_numpy_in_a_training_checkpoint(tmp_path, loader):
    path = tmp_path / "a.pth"
    torch.save({"model": {"w": torch.ones(2)}, "best": np.float64(0.5), "curve": np.arange(3)}, path)
    found = read(path, loader)
    assert found["best"] == 0.5 and found["best"].dtype == np.float64
    assert found["curve"].tolist() == [0, 1, 2] and found["model"]["w"].tolist() == [1, 1]


def test_an_encoding_that_does_not_exist(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.ones(1), "text": b"abc"}, path)
    path.write_bytes(path.read_bytes().replace(b"latin1", b"lat0n1"))
    for loader in ("torch", "numpy"):
        with pytest.raises(CheckpointError):
            read(path, loader)
