"""Every tree comes back bit for bit, from every format and through every reader."""

import argparse
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import HealthCheck, given, settings
from trees import DTYPES, arrays, same, state_dicts, trees

from weight_convert import CheckpointError, read, read_state_dict, write
from weight_convert.tree import NumpyArray

relaxed = settings(
    derandomize=True,
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@relaxed
@given(tree=trees)
def test_pkl_keeps_every_tree_and_pickle_itself_reads_it(tree, tmp_path):
    path = tmp_path / "a.pkl"
    write(tree, path)
    assert same(read(path), tree)
    with path.open("rb") as file:
        assert same(pickle.load(file), widened(tree))


def widened(tree):
    """What a program without bfloat16 finds: float32 of the same values."""
    if isinstance(tree, NumpyArray):
        return widened(tree.view(np.ndarray))
    if isinstance(tree, np.ndarray) and tree.dtype.name == "bfloat16":
        bits = np.frombuffer(tree.tobytes(), np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(tree.shape)
    if isinstance(tree, argparse.Namespace):
        return argparse.Namespace(**widened(vars(tree)))
    if isinstance(tree, dict):
        result = type(tree)({key: widened(value) for key, value in tree.items()})
        if isinstance(tree, OrderedDict):
            vars(result).update(widened(vars(tree)))
        return result
    return type(tree)(map(widened, tree)) if isinstance(tree, (list, tuple)) else tree


def holds_empty_bytes(tree):
    if isinstance(tree, OrderedDict) and holds_empty_bytes(vars(tree)):
        return True
    if isinstance(tree, argparse.Namespace):
        tree = vars(tree)
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return (isinstance(tree, bytes) and not tree) or any(map(holds_empty_bytes, children))


@relaxed
@given(tree=trees)
def test_pth_keeps_every_tree_with_either_reader(tree, tmp_path):
    path = tmp_path / "a.pth"
    if holds_empty_bytes(tree):
        with pytest.raises(CheckpointError, match="empty bytes"):
            write(tree, path)
        return
    write(tree, path)
    assert same(read(path, "numpy"), tree)
    assert same(read(path, "torch"), tree)


@relaxed
@given(state=state_dicts)
def test_safetensors_keeps_every_state_dict(state, tmp_path):
    path = tmp_path / "a.safetensors"
    if any(value.dtype == np.complex128 for value in state.values()):
        with pytest.raises(CheckpointError, match="complex128"):
            write(state, path)
        return
    write(state, path)
    found = read(path)
    assert list(found) == list(state)
    assert same(read_state_dict(path), state)
    with safetensors.safe_open(path, "pt") as file:  # the format's own library agrees
        for name, value in state.items():
            assert tuple(file.get_tensor(name).shape) == value.shape


@relaxed
@given(array=arrays())
def test_what_torch_saves_both_readers_read_alike(array, tmp_path):
    plain = np.array(array, order="C")
    tensor = (
        torch.from_numpy(plain.view(np.int16)).view(torch.bfloat16)
        if plain.dtype == DTYPES[-1]
        else torch.from_numpy(plain)
    )
    wide = torch.stack([tensor, tensor], -1)
    tree = {"plain": tensor, "view": wide[..., 1], "turned": tensor.T if tensor.ndim == 2 else tensor, "wide": wide}
    for legacy in (False, True):
        if legacy and plain.dtype.kind == "u" and plain.dtype.itemsize > 1:
            continue  # no storage class in the legacy format
        path = tmp_path / "a.pth"
        torch.save({"model": tree}, path, _use_new_zipfile_serialization=not legacy)
        ours = read(path, "numpy")["model"]
        assert same(ours, read(path, "torch")["model"])
        assert same(ours["view"], np.asarray(array))
        assert list(read_state_dict(path)) == list(tree)


def test_three_formats_in_a_row_end_at_the_beginning(tmp_path):
    tree = {"model": {"w": np.arange(6, dtype="f4").reshape(2, 3), "n": np.array(3)}, "epoch": 5, "lr": 1e-4}
    previous = tree
    for name in ("a.pth", "b.pkl", "c.pth", "d.pkl"):
        write(previous, tmp_path / name)
        previous = read(tmp_path / name)
    assert same(previous, tree)


def test_large_arrays_in_a_pkl_lie_aligned_wherever_they_begin(tmp_path):
    for length in range(1, 130):
        array = np.random.default_rng(length).integers(256, size=5000, dtype=np.uint8)
        write({"x" * length: array}, tmp_path / "a.pkl")
        data = (tmp_path / "a.pkl").read_bytes()
        assert data.index(array.tobytes()) % 64 == 0
        assert same(pickle.loads(data), {"x" * length: array}) and same(read(tmp_path / "a.pkl"), {"x" * length: array})


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_tied_weights_stay_tied(tmp_path, suffix):
    weight = np.arange(1000, dtype=np.float32)
    write({"a": weight, "b": weight, "c": weight[:]}, tmp_path / f"a{suffix}")
    found = read(tmp_path / f"a{suffix}", "numpy")
    found["a"][0] = 7
    assert found["b"][0] == 7 and found["c"][0] == 7
    assert (tmp_path / f"a{suffix}").stat().st_size < 2 * weight.nbytes


def test_expanded_and_conjugate_tensors(tmp_path):
    values = torch.tensor([1 + 2j, 3 - 1j])
    tree = {"wide": torch.ones(1, 3).expand(4, 3), "conj": values.conj(), "imag": (2 * values).conj().imag}
    torch.save(tree, tmp_path / "a.pth")
    found = read(tmp_path / "a.pth", "numpy")
    assert same(found, read(tmp_path / "a.pth", "torch"))
    assert found["conj"].tolist() == [1 - 2j, 3 + 1j]
    assert found["imag"].tolist() == [-4, 2]


def test_read_arrays_are_writable_and_leave_the_file_alone(tmp_path):
    for name in ("a.pth", "a.pkl", "a.safetensors"):
        write({"w": np.zeros(3, np.float32)}, tmp_path / name)
        before = (tmp_path / name).read_bytes()
        read_state_dict(tmp_path / name)["w"][:] = 1
        assert (tmp_path / name).read_bytes() == before


def test_modules_optimizers_and_parameters(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    tree = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "p": torch.nn.Parameter(torch.ones(2))}
    torch.save(tree, tmp_path / "a.pth")
    ours = read(tmp_path / "a.pth", "numpy")
    assert same(ours, read(tmp_path / "a.pth", "torch"))
    write(ours, tmp_path / "b.pth")
    back = torch.load(tmp_path / "b.pth", weights_only=True)
    model.load_state_dict(back["model"])
    optimizer.load_state_dict(back["optimizer"])
    assert torch.equal(back["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_pickles_of_arrays_and_numbers(tmp_path, protocol):
    tree = {
        "f": np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "s": {1, 2},
        "fs": frozenset([1]),
        "b": b"\xff\x00",
        "o": [1.5, None, True, "é", 2**80, -1, 1 + 2j],
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({**tree, "scalar": np.float32(1.5)}, protocol))
    found = read(tmp_path / "a.pkl")
    assert same(found.pop("scalar"), np.float32(1.5))
    assert found["big"].tolist() == [0, 1, 2] and found["big"].dtype.isnative
    found["big"] = tree["big"]
    assert same(found, tree)


@pytest.mark.parametrize("wrap", ["model", "state_dict", None])
def test_state_dict_is_found(tmp_path, wrap):
    state = {"b": np.ones(2), "a": np.zeros(0)}
    write({wrap: state, "epoch": 1} if wrap else state, tmp_path / "a.pkl")
    assert list(read_state_dict(tmp_path / "a.pkl")) == ["b", "a"]


@pytest.mark.parametrize("tree", [{}, {"model": {}}, {"epoch": 3}, [np.ones(2)], {"a": np.ones(2), "lr": 3}])
def test_no_state_dict_is_an_error(tmp_path, tree):
    write(tree, tmp_path / "a.pkl")
    with pytest.raises(CheckpointError, match=r"a\.pkl: .*(no tensors|'lr')"):
        read_state_dict(tmp_path / "a.pkl")
