"""The command: exit codes, one line of error, nothing lost, and the figures of --bench."""

import argparse
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import weight_convert
from weight_convert import cli, read, write
from weight_convert.convert import compare, convert
from weight_convert.measure import measure

TREE = {"model": {"w": np.arange(6, dtype="f4"), "h": np.ones(2, "f2")}, "epoch": 1}


def command(*arguments):
    """Run in this process: (exit code, stdout, stderr) come from the caller's capsys."""
    return cli.run([str(argument) for argument in arguments])


def test_a_real_process(tmp_path):
    write(TREE, tmp_path / "a.pkl")
    line = [sys.executable, "-m", "weight_convert", str(tmp_path / "a.pkl"), str(tmp_path / "b.pkl")]
    done = subprocess.run([*line, "--verify"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "2 tensors (1 float32, 1 float16), 0.0 MB" in done.stdout and "bitwise equal" in done.stdout
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--force" in done.stderr


def test_json_and_quiet(tmp_path, capsys):
    write(TREE, tmp_path / "a.pkl")
    assert command(tmp_path / "a.pkl", tmp_path / "b.pth", "--json", "--verify") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["tensors"] == 2 and summary["bytes"] == 28 and summary["verified"] is True
    assert command(tmp_path / "b.pth", tmp_path / "c.pkl", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert not compare(TREE, read(tmp_path / "c.pkl"))


WHOLE = {**TREE, "optimizer": {"state": {}, "param_groups": []}, "args": argparse.Namespace(lr=0.1)}


def test_what_safetensors_cannot_hold_is_named_and_nothing_is_written(tmp_path, capsys):
    source, destination = tmp_path / "a.pkl", tmp_path / "b.safetensors"
    write(WHOLE, source)
    destination.write_bytes(b"precious")
    assert command(source, destination, "--force", "--verify") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert f"epoch, optimizer, args of {source} would be lost" in err and "--weights-only" in err
    assert destination.read_bytes() == b"precious"


@pytest.mark.parametrize("key", ["model", "state_dict"])
@pytest.mark.parametrize("suffix", ["pth", "pkl", "safetensors"])
def test_what_weights_only_leaves_out_is_said(tmp_path, capsys, suffix, key):
    tree = {(key if name == "model" else name): value for name, value in WHOLE.items()}
    write(tree, tmp_path / "a.pkl")
    arguments = (tmp_path / "a.pkl", tmp_path / f"b.{suffix}", "--weights-only", "--verify", "--force")
    assert command(*arguments) == 0
    out = capsys.readouterr().out
    assert "left out: epoch, optimizer, args\n" in out
    assert f"the weights are bitwise equal to those of {tmp_path / 'a.pkl'}, which holds epoch, optimizer, args" in out
    assert "holds 2 weights\n" in out
    found = read(tmp_path / f"b.{suffix}")
    assert not compare(found, tree[key] if suffix == "safetensors" else {key: tree[key]})
    assert command(*arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == ["epoch", "optimizer", "args"]


def test_weights_alone_go_into_safetensors_without_a_word(tmp_path, capsys):
    for name, tree in (("a.pkl", TREE["model"]), ("c.pkl", {"model": TREE["model"]})):
        write(tree, tmp_path / name)
        assert command(tmp_path / name, tmp_path / "b.safetensors", "--verify", "--force") == 0
        out = capsys.readouterr().out
        assert "left out" not in out and f"verified: bitwise equal to {tmp_path / name}\n" in out
        assert list(read(tmp_path / "b.safetensors")) == ["w", "h"]


def test_weights_only_of_a_file_without_weights_is_refused(tmp_path, capsys):
    write({"losses": [np.ones(2)]}, tmp_path / "a.pkl")
    assert command(tmp_path / "a.pkl", tmp_path / "b.pkl", "--weights-only") == 2
    assert "a.pkl: the file holds no tensors by name" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["a.pkl"]


def test_a_mismatch_is_exit_code_1(tmp_path, capsys, monkeypatch):
    write(TREE, tmp_path / "a.pkl")

    def spoiled(tree, path, **options):
        tree["model"]["h"][1] = -1
        write(tree, path, **options)
        tree["model"]["h"][1] = 1

    monkeypatch.setattr(weight_convert.convert, "write", spoiled)
    assert command(tmp_path / "a.pkl", tmp_path / "b.pkl", "--verify") == 1
    assert "model/h" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"model": {"w": -np.zeros(1)}}, "model/w"),
        ({"model": {"w": np.zeros(1, "f4")}}, "model/w"),
        ({"model": {"w": np.zeros((1, 1))}}, "model/w"),
        ({"model": {"w": 0.0}}, "model/w"),
        ({"model": {}}, "model"),
        ({"model": {"w": np.zeros(1)}, "epoch": 2}, ""),
    ],
)
def test_comparison_sees_every_difference(change, place):
    assert compare({"model": {"w": np.zeros(1)}}, change) == [place]


@pytest.mark.parametrize(
    "bad", ["missing", "directory", "text", "truncated", "os.system", "no tensors", "no DST", "option", "same", "link"]
)
def test_bad_input_is_one_line_and_the_destination_stays(tmp_path, capsys, bad):
    source, destination = tmp_path / "a.pth", tmp_path / "b.pkl"
    write(TREE, source)
    destination.write_bytes(b"precious")
    arguments = [source, destination, "--force"]
    if bad == "missing":
        source.unlink()
    elif bad == "directory":
        arguments[0] = tmp_path
    elif bad == "text":
        source.write_text("weights")
    elif bad == "truncated":
        source.write_bytes(source.read_bytes()[:-100])
    elif bad == "os.system":
        source.write_bytes(pickle.dumps(os.system))
    elif bad == "no tensors":
        write({"epoch": 1}, source)
    elif bad == "no DST":
        arguments = [source]
    elif bad == "option":
        arguments.append("--nonsense")
    elif bad == "same":
        arguments = [destination, destination, "--force"]
    elif bad == "link":
        (tmp_path / "c.pkl").hardlink_to(destination)
        arguments = [destination, tmp_path / "c.pkl", "--force"]
    before = sorted(os.listdir(tmp_path))
    assert command(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert destination.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == before


def test_convert_reports_its_steps(tmp_path):
    write(TREE, tmp_path / "a.pkl")
    steps = []
    summary = convert(tmp_path / "a.pkl", tmp_path / "b.pkl", verify=True, progress=steps.append)
    assert [step.split()[0] for step in steps] == ["reading", "writing", "verifying"]
    assert summary.verified and summary.dtypes == {"float32": 1, "float16": 1}


@pytest.mark.parametrize(("source", "destination"), [("a.pth", "b.pkl"), ("a.pkl", "b.pth")])
def test_bench_of_a_file_as_large_as_r50(tmp_path, capsys, source, destination):
    state = {f"w{index}": np.full((1000, 1000), index, np.float32) for index in range(40)}
    write({"model": state}, tmp_path / source)
    assert command(tmp_path / source, tmp_path / destination, "--bench", "--json") == 0
    bench = json.loads(capsys.readouterr().out)["bench"]
    assert bench["file_bytes"] > 160e6
    assert bench["peak_bytes"] < 1.3 * bench["file_bytes"]
    ratios = [bench["seconds"] / bench["copy_seconds"]]
    while ratios[-1] > 3 and len(ratios) < 4:  # a busy machine can only make it look slower
        ratios.append(measure(tmp_path / source, tmp_path / destination).ratio)
    assert ratios[-1] <= 3, ratios
    assert sorted(os.listdir(tmp_path)) == sorted([source, destination])
