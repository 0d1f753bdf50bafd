"""What PyTorch's loader would read otherwise than ours, or take for ever over: it never gets to see it."""

import io
import pickle
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import torch
from test_bombs import DOUBLED, KEY, assert_refused_soon
from trees import same

from weight_convert import CheckpointError, read

SYSTEM = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]


def zipped(*members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


HARMLESS, VERSION = ("a/data.pkl", pickle.dumps({"x": 1}, 2)), ("a/version", b"3\n")


@pytest.mark.parametrize("first", [True, False])
def test_names_that_differ_in_case(tmp_path, first):
    """PyTorch finds either under the name of the other."""
    both = [HARMLESS, ("a/DATA.PKL", KEY)]
    (tmp_path / "a.pth").write_bytes(zipped(*(both if first else both[::-1]), VERSION))
    assert_refused_soon(tmp_path / "a.pth")


def test_two_directories_in_one_archive(tmp_path):
    """Python's reader takes the one before the end, PyTorch's the one where the end says that it is."""
    text = b"x" * (len(KEY) - 8)
    harmless = b"\x80\x02X" + struct.pack("<I", len(text)) + text + b"."  # of one length with the other
    hidden, shown = zipped(("a/data.pkl", KEY), VERSION), zipped(("a/data.pkl", harmless), VERSION)
    (start, end), (other_start, other_end) = (
        (data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")) for data in (hidden, shown)
    )
    directory = shown[other_start:other_end]
    assert len(directory) == end - start
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), start, 0)
    (tmp_path / "a.pth").write_bytes(hidden[:end] + shown[:other_start] + directory + tail)
    assert read(tmp_path / "a.pth", "numpy") == text.decode()
    assert_refused_soon(tmp_path / "a.pth")


def test_a_program_under_another_root(tmp_path):
    (tmp_path / "a.pth").write_bytes(zipped(("b/constants.pkl", b""), ("b/version", b"3\n"), HARMLESS, VERSION))
    with pytest.raises(CheckpointError):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize("loader", ["numpy", "torch"])
def test_a_tar_archive_that_is_a_pickle_too(tmp_path, loader):
    """Before version 2.6 PyTorch runs what such an archive holds."""
    info = tarfile.TarInfo("x")
    head = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    start = b"".join(pickle.dumps(value, 2) for value in SYSTEM[:2]) + b"\x80\x02X"
    head[: len(start) + 4] = start + struct.pack("<I", 511 - len(start) - 4)
    head[-1:] = b"."
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    path = tmp_path / "a.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path.write_bytes(bytes(head) + pickle.dumps({"x": 1}, 2) + pickle.dumps([], 2) + b"\0" * 1024)
    assert tarfile.is_tarfile(path)
    with pytest.raises(CheckpointError, match="is a tar archive too"):
        read(path, loader)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pth_under_the_name_of_another_format(tmp_path, legacy):
    """PyTorch goes by the name."""
    torch.save({"w": torch.arange(3.0)}, tmp_path / "a", _use_new_zipfile_serialization=not legacy)
    path = (tmp_path / "a").rename(tmp_path / "a.safetensors")
    for loader in ("numpy", "torch", "auto"):
        assert read(path, loader)["w"].tolist() == [0, 1, 2]


NAMES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32"]


@pytest.mark.parametrize("loader", ["numpy", "torch"])
def test_a_file_of_a_big_endian_machine(tmp_path, loader):
    """PyTorch's loader leaves the bytes of unsigned numbers as they lie."""
    tensors = {name: torch.arange(1, 4).to(getattr(torch, name)) for name in [*NAMES, "complex64", "complex128"]}
    torch.save(tensors, tmp_path / "little.pth")
    widths = [tensor.element_size() // (2 if tensor.is_complex() else 1) for tensor in tensors.values()]
    with zipfile.ZipFile(tmp_path / "little.pth") as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    for name, data in members.items():
        if name.endswith("/byteorder"):
            members[name] = b"big"
        elif "/data/" in name:
            width = widths[int(name.rpartition("/")[2])]
            members[name] = np.frombuffer(data, np.uint8).reshape(-1, width)[:, ::-1].tobytes()
    (tmp_path / "big.pth").write_bytes(zipped(*members.items()))
    assert same(read(tmp_path / "big.pth", loader), read(tmp_path / "little.pth", "numpy"))


@pytest.mark.parametrize("loader", ["numpy", "torch"])
def test_a_legacy_file_of_a_big_endian_machine(tmp_path, loader):
    """Its numbers are little-endian wherever it was written."""
    torch.save({"w": torch.arange(3.0)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "a.pth").read_bytes()
    at = data.index(b"little_endian")
    true = data.index(b"\x88", at)
    (tmp_path / "a.pth").write_bytes(data[:true] + b"\x89" + data[true + 1 :])
    assert read(tmp_path / "a.pth", loader)["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("loader", ["numpy", "torch"])
def test_a_tensor_that_reads_what_lies_behind_its_storage(tmp_path, loader):
    torch.save({"w": torch.arange(3.0), "secret": torch.ones(100)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    assert members[name].count(b"K\x03") == 2  # numbers in the storage, and the tensor's shape
    members[name] = members[name].replace(b"K\x03", b"K\x30")
    (tmp_path / "a.pth").write_bytes(zipped(*members.items()))
    with pytest.raises(CheckpointError, match="reaches beyond its storage"):
        read(tmp_path / "a.pth", loader)


@pytest.mark.parametrize("loader", ["numpy", "torch"])
def test_a_device_of_a_large_number(tmp_path, loader):
    """PyTorch takes the 275th for the 19th."""
    data = b"\x80\x02}X\x01\x00\x00\x00dctorch\ndevice\nX\x04\x00\x00\x00cudaM\x13\x01\x86Rs."
    (tmp_path / "a.pth").write_bytes(zipped(("a/data.pkl", data), VERSION))
    with pytest.raises(CheckpointError, match="a device"):
        read(tmp_path / "a.pth", loader)
    (tmp_path / "a.pth").write_bytes(zipped(("a/data.pkl", data.replace(b"M\x13\x01", b"K\x13")), VERSION))
    assert read(tmp_path / "a.pth", loader) == {"d": "cuda:19"}


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x01\x85K\x01\x85"
PLAIN = TENSOR + b"\x89}tR"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(TENSOR + b"\x89}h\x00tR", id="marks of a tensor"),
        pytest.param(TENSOR + b"\x89}}X\x01\x00\x00\x00xh\x00stR", id="mark of a tensor"),
        pytest.param(TENSOR + b"\x89h\x00tR", id="hooks of a tensor"),
        pytest.param(TENSOR + b"h\x00}tR", id="whether it is trained"),
        pytest.param(b"ctorch._utils\n_rebuild_parameter\n(" + PLAIN + b"h\x00}tR", id="parameter"),
        pytest.param(b"ctorch._utils\n_rebuild_parameter_with_state\n(" + PLAIN + b"\x89}h\x00tR", id="its state"),
        pytest.param(b"ctorch._utils\n_rebuild_parameter\n(h\x00\x89}tR", id="parameter of no tensor"),
        pytest.param(
            b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n("
            + TENSOR.partition(b"(")[2] + b"\x89}th\x00tR",
            id="state of a subclass",
        ),
        pytest.param(b"ctorch._utils\n_rebuild_sparse_tensor\n(h\x00h\x00tR", id="sparse"),
        pytest.param(b"ctorch._utils\n_rebuild_sparse_tensor\n(h\x00h\x00tR0K\x01", id="sparse, and dropped"),
        pytest.param(b"ctorch\ndevice\n(X\x03\x00\x00\x00cpuh\x00tR", id="device"),
        pytest.param(b"ccollections\nCounter\n(](K\x01h\x00\x86etR", id="counter"),
    ],
)  # fmt: skip
def test_doubled_tuples_as_arguments(tmp_path, value):
    """Whoever shows one in a message, or hashes it, never ends."""
    data = b"\x80\x02" + DOUBLED + b"}X\x01\x00\x00\x00w" + value + b"s."
    path = tmp_path / "a.pth"
    path.write_bytes(zipped(("a/data.pkl", data), ("a/data/0", b"\0" * 4), VERSION))
    script = (
        "import sys, weight_convert\n"
        "for loader in 'numpy', 'torch':\n"
        "    try: weight_convert.read(sys.argv[1], loader)\n"
        "    except weight_convert.CheckpointError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
