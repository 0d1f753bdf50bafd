"""Writing is whole or not at all, and refuses what a format cannot hold."""

import argparse
import os
import stat

import numpy as np
import pytest
import torch

from weight_convert import CheckpointError, write

GOOD = {"w": np.ones(3, np.float32)}
SUFFIXES = ["a.pth", "a.pkl", "a.safetensors"]


@pytest.mark.parametrize("name", SUFFIXES)
@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, name, fault):
    write(GOOD, tmp_path / name)
    before = (tmp_path / name).read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, fault, fail)
    with pytest.raises(CheckpointError, match=rf"{name}: no space left"):
        write({"w": np.zeros(9)}, tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", SUFFIXES)
@pytest.mark.parametrize(
    ("leaf", "what"),
    [
        (object(), "builtins.object"),
        (np.array(["a"]), "dtype <U1"),
        (np.array([None]), "dtype object"),
        (np.zeros(2, "M8[s]"), "dtype datetime64"),
        (torch.ones(2), "torch.Tensor"),
        (print, "builtin"),
    ],
)
def test_a_leaf_that_cannot_be_written_is_named(tmp_path, name, leaf, what):
    with pytest.raises(CheckpointError, match=rf"model/deep/0 .*{what}"):
        write({"model": {"w": np.ones(2), "deep": [leaf]}}, tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("bad", [b"", frozenset([1]), np.ones(2, np.longdouble)])
def test_pth_refuses_what_the_restricted_loader_would(tmp_path, bad):
    with pytest.raises(CheckpointError, match=r"args/x .*(PyTorch|torch\.load)"):
        write({"args": {"x": bad}}, tmp_path / "a.pth")
    assert os.listdir(tmp_path) == []


def test_safetensors_holds_flat_dicts_only(tmp_path):
    for tree in ({"model": GOOD}, [np.ones(2)], {"a": 1}, {1: np.ones(2)}):
        with pytest.raises(CheckpointError, match="bare state dict"):
            write(tree, tmp_path / "a.safetensors")


def test_a_tree_that_contains_itself_is_refused(tmp_path):
    tree = {"a": []}
    tree["a"].append(tree)
    with pytest.raises(CheckpointError, match="contains itself"):
        write(tree, tmp_path / "a.pkl")
    with pytest.raises(CheckpointError, match="key of type"):
        write({object(): 1}, tmp_path / "a.pkl")


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "d.pkl").mkdir()
    for name, what in (("d.pkl", "is a directory"), ("no/a.pkl", "does not exist"), ("a.ckpt", "unknown suffix")):
        with pytest.raises(CheckpointError, match=what):
            write(GOOD, tmp_path / name)


def test_permissions_follow_the_umask_or_the_file_replaced(tmp_path):
    old = os.umask(0o027)
    try:
        write(GOOD, tmp_path / "a.pkl")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.pkl").stat().st_mode) == 0o640
    (tmp_path / "a.pkl").chmod(0o604)
    write(GOOD, tmp_path / "a.pkl")
    assert stat.S_IMODE((tmp_path / "a.pkl").stat().st_mode) == 0o604


def test_plain_torch_load_reads_what_we_write(tmp_path):
    write({"model": GOOD, "args": argparse.Namespace(lr=1.0)}, tmp_path / "a.pth")
    with torch.serialization.safe_globals([argparse.Namespace]):
        found = torch.load(tmp_path / "a.pth", weights_only=True)
    assert torch.equal(found["model"]["w"], torch.ones(3)) and found["args"].lr == 1.0
