"""Files that Jittor wrote, and files of ours in Jittor, which runs in a process of its own."""

import argparse
import subprocess
import sys

import ml_dtypes
import numpy as np
from trees import same

from weight_convert import read, read_state_dict, write

SAVE = """
import sys, argparse
import detr_jt, jittor as jt, numpy as np
jt.save({
    "model": {"w": jt.array(np.arange(6, dtype="f4").reshape(2, 3)), "h": jt.array(np.ones(3, "f2")),
              "e": jt.zeros((0, 3)), "b": jt.array(np.array([True, False])),
              "d": jt.array(np.ones(2), dtype="float64")},
    "epoch": 3, "args": argparse.Namespace(x=1), "np": np.arange(3),
}, sys.argv[1])
"""
LOAD = """
import sys
import detr_jt, jittor as jt, numpy as np
whole = jt.load(sys.argv[1])
assert whole["epoch"] == 3 and whole["args"].x == [1], whole
for name, value in whole["model"].items():
    kept = "float32" if name == "bfloat16" else name
    assert type(value) is np.ndarray and value.dtype.name == kept and value.tolist() == [[1, 0], [0, 1]], name
model = jt.nn.Linear(3, 2)
model.load(sys.argv[2])
assert model.weight.numpy().tolist() == [[0, 1, 2], [3, 4, 5]], model.weight
assert model.bias.numpy().tolist() == [7, 8], model.bias
"""


def run(code, *paths):
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_file_of_jt_save_with_vars_inside(tmp_path):
    run(SAVE, tmp_path / "a.pkl")
    found = read(tmp_path / "a.pkl")
    expected = {
        "w": np.arange(6, dtype="f4").reshape(2, 3),
        "h": np.ones(3, "f2"),
        "e": np.zeros((0, 3), "f4"),
        "b": np.array([True, False]),
        "d": np.ones(2),
    }
    assert same(found["model"], expected)
    assert found["epoch"] == 3 and found["args"] == argparse.Namespace(x=1) and same(found["np"], np.arange(3))
    assert list(read_state_dict(tmp_path / "a.pkl")) == list(expected)


def test_jittor_loads_what_we_write(tmp_path):
    names = ["float16", "float32", "float64", "int32", "int64", "uint8", "bool", "complex64", "bfloat16"]
    model = {name: np.eye(2).astype(ml_dtypes.bfloat16 if name == "bfloat16" else name) for name in names}
    write({"model": model, "epoch": 3, "args": argparse.Namespace(x=[1])}, tmp_path / "whole.pkl")
    weight = np.arange(6, dtype=ml_dtypes.bfloat16).reshape(2, 3)
    write({"weight": weight, "bias": np.array([7, 8], "f4")}, tmp_path / "bare.pkl")
    run(LOAD, tmp_path / "whole.pkl", tmp_path / "bare.pkl")
