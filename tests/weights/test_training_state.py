"""A whole training checkpoint moves both ways: every tensor, number, key, order and type."""

import argparse
import io
import pickle
import random
import warnings
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from trees import same

from weight_convert import CheckpointError, cli, read, write
from weight_convert.convert import compare, convert
from weight_convert.tree import NumpyArray, keep_numpy


def checkpoint():
    """What a training script saves: DETR's own entries, and the states of all random generators."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[1:].parameters(), "lr": 1e-5}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=1e-4, amsgrad=True)
    schedulers = torch.optim.lr_scheduler.StepLR(optimizer, 2), torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    for _ in range(3):
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedulers[0].state_dict(),
        "milestones": schedulers[1].state_dict(),
        "epoch": 2,
        "args": argparse.Namespace(lr=1e-4, masks=False, frozen_weights=None, betas=(0.9, 0.999), layers=[1, 2]),
        "best": np.float64(0.1),
        "seen": np.int64(7),
        "random": {
            "torch": torch.get_rng_state(),
            "numpy": np.random.get_state(),
            "generator": np.random.default_rng(3).bit_generator.state,
            "python": random.getstate(),
            "jittor": 2**40 + 1,
        },
    }


def identical(left, right):
    """Compare what torch.load gives; written apart from the product's own comparison."""
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
    if isinstance(left, argparse.Namespace):
        return identical(vars(left), vars(right))
    if isinstance(left, dict):
        attributes = isinstance(left, OrderedDict)
        return (
            identical(list(left), list(right))
            and identical(list(left.values()), list(right.values()))
            and (not attributes or identical(vars(left), vars(right)))
        )
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(identical, left, right))
    return same(left, right)


def there_and_back(folder):
    convert(folder / "a.pth", folder / "b.pkl")
    convert(folder / "b.pkl", folder / "c.pth")
    return torch.load(folder / "c.pth", weights_only=False)


def test_it_comes_back_identical_and_training_goes_on(tmp_path):
    state = checkpoint()
    torch.save(state, tmp_path / "a.pth")
    found = there_and_back(tmp_path)
    assert identical(found, state)
    assert type(found["random"]["numpy"][1]) is np.ndarray and found["model"]._metadata["1"] == {"version": 2}
    assert not compare(read(tmp_path / "a.pth"), read(tmp_path / "c.pth"))
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    model.load_state_dict(found["model"])
    optimizer = torch.optim.AdamW([{"params": model[0].parameters()}, {"params": model[1:].parameters()}])
    optimizer.load_state_dict(found["optimizer"])
    assert identical(optimizer.state_dict(), state["optimizer"])
    np.random.set_state(found["random"]["numpy"])
    random.setstate(found["random"]["python"])
    torch.set_rng_state(found["random"]["torch"])


def test_step_is_a_number_of_no_dimensions_in_the_pkl(tmp_path):
    torch.save(checkpoint(), tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "b.pkl")
    with (tmp_path / "b.pkl").open("rb") as file:
        optimizer = pickle.load(file)["optimizer"]
    assert list(optimizer["state"]) == list(range(6))
    step = optimizer["state"][0]["step"]
    assert type(step) is np.ndarray and step.dtype == np.float32 and step.shape == () and step == 3
    assert set(optimizer["state"][0]) == {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
    expected = set(torch.optim.AdamW([torch.ones(1)]).param_groups[0]) | {"initial_lr"}
    assert [set(group) for group in optimizer["param_groups"]] == [expected, expected]
    assert [group["params"] for group in optimizer["param_groups"]] == [[0, 1], [2, 3, 4, 5]]


def test_older_optimizers_count_steps_with_integers(tmp_path):
    state = {"state": {0: {"step": 12, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    for zipped in (True, False):
        torch.save({"optimizer": state}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        assert identical(there_and_back(tmp_path)["optimizer"], state)
        for name in ("b.pkl", "c.pth"):
            (tmp_path / name).unlink()


def test_a_checkpoint_of_jittor_comes_back_from_pytorch(tmp_path):
    tree = {
        "model": {"w": np.ones((2, 3), "f4")},
        "optimizer": {"state": {0: {"step": np.array(3, "f4"), "exp_avg": np.ones(2)}}, "param_groups": []},
        "random": {"numpy": ("MT19937", keep_numpy(np.arange(624, dtype="u4")), 3, 0, 0.0)},
    }
    write(tree, tmp_path / "a.pkl")
    convert(tmp_path / "a.pkl", tmp_path / "b.pth")
    loaded = torch.load(tmp_path / "b.pth", weights_only=False)
    assert type(loaded["random"]["numpy"][1]) is np.ndarray
    assert type(loaded["optimizer"]["state"][0]["step"]) is torch.Tensor
    torch.save(loaded, tmp_path / "c.pth")
    convert(tmp_path / "c.pth", tmp_path / "d.pkl")
    assert same(read(tmp_path / "d.pkl"), tree)
    assert type(read(tmp_path / "d.pkl")["random"]["numpy"][1]) is NumpyArray


def test_the_summary_says_what_the_checkpoint_holds(tmp_path, capsys):
    torch.save(checkpoint(), tmp_path / "a.pth")
    assert cli.run([str(tmp_path / "a.pth"), str(tmp_path / "b.pkl")]) == 0
    expected = (
        "holds 9 weights, optimizer of 6 parameters in 2 groups, lr_scheduler, milestones, epoch 2, args (5), best, "
        "seen, random\n"
    )
    assert expected in capsys.readouterr().out
    assert cli.run([str(tmp_path / "b.pkl"), str(tmp_path / "c.pth"), "--verify"]) == 0
    assert "note: 3 values of NumPy's, which torch.load takes with weights_only=False only\n" in capsys.readouterr().out


def test_what_an_array_cannot_say_is_said(tmp_path, capsys):
    tree = {"p": torch.nn.Parameter(torch.ones(2)), "r": torch.ones(1, requires_grad=True), "w": torch.ones(2)}
    torch.save({"model": tree, "device": torch.device("cuda:1"), "dtype": torch.float8_e5m2}, tmp_path / "a.pth")
    assert cli.run([str(tmp_path / "a.pth"), str(tmp_path / "b.pkl")]) == 0
    out = capsys.readouterr().out
    assert "note: 2 parameters or tensors that require gradients, now plain tensors\n" in out
    assert "note: 2 PyTorch dtypes or devices, now text\n" in out
    found = read(tmp_path / "b.pkl")
    assert (found["device"], found["dtype"]) == ("cuda:1", "torch.float8_e5m2")
    assert cli.run([str(tmp_path / "b.pkl"), str(tmp_path / "c.pth")]) == 0
    assert "note" not in capsys.readouterr().out


def test_tensors_of_a_gpu_are_said_to_have_moved(tmp_path):
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2), "v": torch.ones(2)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "a.pth", "w") as new:
        for info in old.infolist():
            text = old.read(info).replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            new.writestr(info.filename, text)
    summary = convert(tmp_path / "a.pth", tmp_path / "b.pkl", verify=True)
    assert summary.verified and summary.changes == ("2 tensors of cuda:0, now on the CPU",)


def test_metadata_of_safetensors_is_said_to_be_left(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2)}, tmp_path / "a.safetensors", metadata={"format": "np", "trained_on": "coco"})
    summary = convert(tmp_path / "a.safetensors", tmp_path / "b.pkl")
    assert summary.changes == ("metadata trained_on, not kept",)


def unheld():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # beta features, and one that is to go
        return {
            "float8": (torch.ones(3).to(torch.float8_e4m3fn), "torch.float8_e4m3fn", "float32"),
            "complex32": (torch.ones(3, dtype=torch.complex32), "torch.complex32", "complex64"),
            "sparse": (torch.eye(3).to_sparse(), "a sparse tensor", "to_dense"),
            "csr": (torch.eye(3).to_sparse_csr(), "a sparse tensor", "to_dense"),
            "quantized": (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "a quantized", "dequantize"),
            "channels": (
                torch.quantize_per_channel(torch.ones(3, 2), torch.ones(3), torch.zeros(3), 0, torch.quint8),
                "a quantized",
                "dequantize",
            ),
            "meta": (torch.ones(3, device="meta"), "without numbers", "fill"),
            "nested": (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "a nested", "to_padded_tensor"),
        }


@pytest.mark.parametrize("name", list(unheld()))
@pytest.mark.parametrize("loader", ["numpy", "torch"])
def test_a_tensor_that_numpy_cannot_hold_is_named_with_what_to_do(tmp_path, capsys, name, loader):
    tensor, what, advice = unheld()[name]
    torch.save({"model": {"ok": torch.ones(2), "head.w": tensor}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=rf"a\.pth: model/head\.w is .*{what}.*cannot hold; .*{advice}"):
        read(tmp_path / "a.pth", loader)
    assert cli.run([str(tmp_path / "a.pth"), str(tmp_path / "b.pkl")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "b.pkl").exists()


def test_the_comparison_sees_types(tmp_path):
    plain = {1: np.ones(2), "o": {"a": 1}}
    ordered = OrderedDict(a=1)
    ordered._metadata = {}
    for other in (
        {1: keep_numpy(np.ones(2)), "o": {"a": 1}},
        {True: np.ones(2), "o": {"a": 1}},
        {1: np.ones(2), "o": OrderedDict(a=1)},
        {1: np.ones(2), "o": Counter(a=1)},
        {1: np.ones(2), "o": {"a": np.int64(1)}},
        {1: np.ones(2), "o": {"a": True}},
    ):
        assert compare(plain, other)
    assert compare(OrderedDict(a=1), ordered) == ["attributes"]
    assert compare(np.float32(0.0), np.float32(-0.0)) == [""]
