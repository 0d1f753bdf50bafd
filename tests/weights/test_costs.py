"""Files that ask for far more work or memory than they are long for: refused, and honest ones that look alike read."""

import argparse
import collections
import hashlib
import json
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from test_two_readers import zipped
from trees import same

from weight_convert import CheckpointError, read, write
from weight_convert.emit import JITTOR_END

# In a second process, since what is refused here once took hours, and memory that this one needs.
SCRIPT = """
import resource, sys, weight_convert
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
try:
    weight_convert.read(sys.argv[1], sys.argv[2])
except weight_convert.CheckpointError as error:
    assert not isinstance(error.__cause__.__cause__, MemoryError), "of memory"
    print(error)
    sys.exit(2)
"""


def refusal(path, loader="numpy"):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), loader], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, (done.returncode, done.stderr[-2000:])
    return done.stdout


def text(size):
    return b"X" + struct.pack("<I", size) + b"x" * size


def many(part):
    return b"](" + part * 50_000 + b"e."


def alike(part=b""):
    """Numbers that all have one hash, each with something behind it."""
    return b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + part for k in range(1, 200_001))


LIST = b"](" + b"N" * 300_000 + b"eq\x000"
TUPLE = b"(" + b"K\x01" * 300_000 + b"tq\x000"
STATE = b"}(" + b"".join(b"X\x05\x00\x00\x00%05dN" % i for i in range(99_999)) + b"uq\x000"
DTYPE = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R(K\x03X\x01\x00\x00\x00>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
BYTES = b"B" + struct.pack("<I", 1_000_000) + b"x" * 1_000_000
ARRAY = b"cnumpy.core.numeric\n_frombuffer\n(h\x00h\x01J\x90\xd0\x03\x00\x85X\x01\x00\x00\x00CtR"
REPEATED = {
    "lists": LIST + many(b"cbuiltins\nlist\nh\x00\x85R"),
    "dictionaries": STATE + many(b"ccollections\nOrderedDict\nh\x00\x85R"),
    "states": STATE + many(b"cargparse\nNamespace\n)Rh\x00b"),
    "text": text(1_000_000) + b"q\x000" + many(b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"),
    "arrays": BYTES + b"q\x000" + DTYPE + b"q\x010" + many(ARRAY),
    "long keys": TUPLE + many(b"}h\x00Ns"),
    "keys of one hash": b"}(" + alike(b"N") + b"u.",
    "members of one hash": b"\x8f(" + alike() + b"\x90.",
    "frozen members of one hash": b"(" + alike() + b"\x91.",
    "a set of one hash": b"cbuiltins\nset\n](" + alike() + b"e\x85R.",
    "pairs of one hash": b"ccollections\nOrderedDict\n](" + alike(b"N\x86") + b"e\x85R.",
}


@pytest.mark.parametrize("name", list(REPEATED))
@pytest.mark.parametrize("form", ["pkl", "pth"])
def test_parts_that_are_used_again_and_again(tmp_path, name, form):
    path, data = tmp_path / f"a.{form}", b"\x80\x04" + REPEATED[name]
    path.write_bytes(data if form == "pkl" else zipped(("a/data.pkl", data), ("a/version", b"3\n")))
    said = refusal(path)
    assert any(what in said for what in ("far more of its parts than it holds", "as a key", "keys that are neither"))


def test_a_note_of_one_hash(tmp_path):
    numbers = [k * (2**61 - 1) for k in range(200_000)]
    body = pickle.dumps({"w": 1}, 4) + pickle.dumps({"numpy": numbers}, 4)
    (tmp_path / "a.pkl").write_bytes(body + hashlib.sha1(body).digest() + JITTOR_END)
    assert "something unknown behind its pickle" in refusal(tmp_path / "a.pkl")


def test_long_keys_above_many_values_are_read(tmp_path):
    """Every value has a place, whose name was once as long as all keys above it."""
    tree = [0.0] * 200_000
    for level in range(150):
        tree = {f"{level}" + "x" * 20_000: tree}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(tree, 4))
    assert read(tmp_path / "a.pkl") == tree


def test_many_tensors_of_one_number(tmp_path):
    one = torch.zeros(1)
    torch.save([one.expand(2**26 - i) for i in range(300)], tmp_path / "a.pth")
    for loader in ("numpy", "torch"):
        assert "far larger than the file, all together" in refusal(tmp_path / "a.pth", loader)


def test_honest_files_with_many_keys_calls_and_views(tmp_path):
    weight = torch.zeros(1000)
    tree = {
        "numbers": dict.fromkeys(range(30_000), 0),
        "names": collections.Counter(f"name {i}" for i in range(30_000)),
        "pairs": {(i, f"{i}"): i for i in range(30_000)},
        "odd": {i / 7: i for i in range(5000)},
        "set": set(range(50_000)),
        "spaces": [argparse.Namespace(a=i, b=[i]) for i in range(3000)],
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({**tree, "arrays": [np.full(3, i, ">f4") for i in range(3000)]}, 2))
    found = read(tmp_path / "a.pkl")
    assert [array.tolist() for array in found.pop("arrays")] == [[i] * 3 for i in range(3000)] and same(found, tree)
    torch.save({"views": [weight[i:] for i in range(12)], "tied": [weight] * 500}, tmp_path / "a.pth")
    assert [len(view) for view in read(tmp_path / "a.pth")["views"]] == [1000 - i for i in range(12)]


def safetensors(header, body, encoding="utf-8"):
    data = (header if isinstance(header, str) else json.dumps(header)).encode(encoding)
    return struct.pack("<Q", len(data)) + data + body


def entry(begin, end):
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (safetensors({"a": entry(0, 3), "b": entry(2, 4)}, b"1234"), "one behind another"),
        (safetensors({"a": entry(0, 4), "b": entry(0, 4)}, b"1234"), "one behind another"),
        (safetensors({"a": entry(0, 1), "b": entry(2, 4)}, b"1234"), "one behind another"),
        (safetensors({"a": entry(0, 3)}, b"1234"), "not all of it"),
        (safetensors({"a": entry(0, 5)}, b"1234"), "cut off"),
        (safetensors({"a": {**entry(0, 4), "data_offsets": [False, 4]}}, b"1234"), "one behind another"),
        (safetensors('{"a":%s,"a":%s}' % ((json.dumps(entry(0, 4)),) * 2), b"1234"), "there twice"),
        (safetensors({"a": entry(0, 4)}, b"1234", "utf-16-le"), "damaged"),
        (safetensors({"a": entry(0, 4)}, b"1234", "utf-32-le"), "damaged"),
    ],
)
def test_safetensors_as_the_format_has_it(tmp_path, data, why):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=why):
        read(tmp_path / "a.safetensors")


def test_what_is_shown_cannot_control_the_terminal(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors({"a": {**entry(0, 4), "dtype": "\x1b[2J" * 500}}, b"1234"))
    with pytest.raises(CheckpointError, match=r"dtype \\x1b\[2J") as caught:
        read(tmp_path / "a.safetensors")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600 + len(str(tmp_path))
    write({"\x1b[2J" * 500: {"\n": np.ones(1)}, "model": {"w": np.ones(1)}}, tmp_path / "a.pkl")
    command = [sys.executable, "-m", "weight_convert", str(tmp_path / "a.pkl"), str(tmp_path / "b.pth")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "\x1b" not in done.stdout + done.stderr and r"\x1b[2J" in done.stdout
