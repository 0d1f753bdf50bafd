"""Small files that would take all time or all memory: refused at once, and in words that a terminal can show."""

import collections
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch

from weight_convert import CheckpointError, read
from weight_convert.convert import convert

# A tuple that holds another twice, and so on sixty deep: 300 bytes, 2**60 steps to hash, to print or to compare.
DOUBLED = b")q\x000" + b"".join(b"h\x00h\x00\x86q\x000" for _ in range(60))
NUMPY_DTYPE = b"cnumpy\ndtype\n"


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"}h\x00K\x01s.", id="key"),
        pytest.param(b"}(h\x00K\x01u.", id="keys"),
        pytest.param(b"\x8f(h\x00\x90.", id="set"),
        pytest.param(b"(h\x00\x91.", id="frozenset"),
        pytest.param(b"cbuiltins\nset\n](h\x00e\x85R.", id="set from a list"),
        pytest.param(b"ccollections\nOrderedDict\n](h\x00K\x01\x86e\x85R.", id="pairs"),
        pytest.param(NUMPY_DTYPE + b"h\x00\x85R.", id="dtype"),
    ],
)
def test_doubled_tuples_do_not_take_forever(tmp_path, rest):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04" + DOUBLED + rest)
    assert_refused_soon(path)


KEY = b"\x80\x02)q\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(60)) + b"}h\x00K\x01s."


def as_zip(path, *roots):
    with zipfile.ZipFile(path, "w") as archive:
        for root, data in roots:
            archive.writestr(f"{root}/data.pkl", data)
            archive.writestr(f"{root}/version", b"3\n")


def test_doubled_tuples_in_a_pth(tmp_path):
    """PyTorch's restricted loader would hash them for ever."""
    path = tmp_path / "a.pth"
    as_zip(path, ("a", KEY))
    assert_refused_soon(path)
    system = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    path.write_bytes(b"".join(pickle.dumps(value, 2) for value in system) + KEY + pickle.dumps([], 2))
    assert_refused_soon(path)


def test_a_second_pickle_that_another_reader_would_take(tmp_path):
    path = tmp_path / "a.pth"
    as_zip(path, ("a", pickle.dumps({}, 2)), ("b", KEY))
    assert_refused_soon(path)
    with pytest.warns(UserWarning, match="Duplicate name"):
        as_zip(path, ("a", pickle.dumps({}, 2)), ("a", KEY))
    assert_refused_soon(path)


def assert_refused_soon(path):
    script = (
        "import sys, weight_convert\n"
        "try: weight_convert.read(sys.argv[1])\n"
        "except weight_convert.CheckpointError: sys.exit(2)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, timeout=60)
    assert done.returncode == 2, done.stderr


@pytest.mark.parametrize("loader", ["torch", "numpy"])
def test_a_number_repeated_to_terabytes_is_refused(tmp_path, loader):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.zeros(1).expand(2**40)}, path)
    with pytest.raises(CheckpointError, match="far larger than its storage"):
        read(path, loader)


@pytest.mark.parametrize("loader", ["torch", "numpy"])
def test_a_tensor_that_repeats_its_storage_a_little_is_read(tmp_path, loader):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.arange(3.0).expand(4, 3)}, path)
    assert read(path, loader)["w"].tolist() == [[0.0, 1.0, 2.0]] * 4


def test_a_name_in_the_file_cannot_control_the_terminal(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04cos\x1b[2J\nsystem\r" + "\u202e".encode() + b"x" * 300 + b"\n)R.")
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert message.isascii() and message.isprintable() and "os\\x1b[2J" in message
    assert len(message) < len(str(path)) + 300


@pytest.mark.parametrize("loader", ["torch", "numpy"])
def test_milestones_of_a_schedule_survive(tmp_path, loader):
    """torch.optim.lr_scheduler.MultiStepLR keeps them in a Counter."""
    source, written = tmp_path / "a.pth", tmp_path / "b.pkl"
    torch.save({"w": torch.ones(2), "lr_scheduler": {"milestones": collections.Counter([5, 9, 9])}}, source)
    assert convert(source, written, verify=True, loader=loader).verified
    assert read(written)["lr_scheduler"] == {"milestones": {5: 1, 9: 2}}
