"""Foreign and hostile files: one CheckpointError each, and nothing in them runs."""

import argparse
import builtins
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from saved import whole_files, zip_with

from weight_convert import CheckpointError, read


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.parts


def hostile_objects(marker):
    command = f"touch {marker}"
    return {
        "os.system": Call(os.system, command),
        "subprocess": Call(subprocess.call, ["touch", str(marker)]),
        "eval": Call(builtins.eval, f"open({str(marker)!r}, 'w')"),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "open": Call(open, str(marker), "w"),
        "code in a key": {Call(os.system, command): 1},
        "code in a namespace": argparse.Namespace(x=Call(os.system, command)),
        "code in object array": np.array([Call(os.system, command)], dtype=object),
        "state on a class": Call(np.dtype, "f4", state=(None, {"x": 1})),
        "numpy loader": Call(np.load, str(marker)),
        "exec by pickle": Call(pickle.loads, b"cos\nsystem\n(S'x'\ntR."),
    }


def attempts(folder, data):
    """The file under both readers and under a name of either format."""
    for name in ("a.pth", "a.pkl"):
        (folder / name).write_bytes(data)
        for loader in ("numpy", "torch"):
            yield folder / name, loader


@pytest.mark.parametrize("name", list(hostile_objects("x")))
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_nothing_runs(tmp_path, name, protocol):
    marker = tmp_path / "ran"
    data = pickle.dumps({"model": {"w": np.ones(2)}, "x": hostile_objects(marker)[name]}, protocol)
    legacy = io.BytesIO()
    torch.save({"w": torch.ones(2)}, legacy, _use_new_zipfile_serialization=False)
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    for whole in (data, zip_with(data), magic + data + pickle.dumps([], 2), magic[:-1]):
        for path, loader in attempts(tmp_path, whole):
            with pytest.raises(CheckpointError, match=path.name):
                read(path, loader)
    assert not marker.exists()


def op(text):
    return b"\x80\x04" + text


WEIRD = {
    "setattr on a builder": op(b"cargparse\nNamespace\n}X\x01\x00\x00\x00ak\x01sb."),
    "state of a global": op(b"cargparse\nNamespace\n(N}X\x01\x00\x00\x00aK\x01stb."),
    "dotted name": op(b"\x8c\x08argparse\x8c\x16Namespace.__class__.x\x93."),
    "module of a package": op(b"cweight_convert.files\nos\n."),
    "call of an instance": op(b"cargparse\nNamespace\n)R)R."),
    "newobj_ex": op(b"cargparse\nNamespace\n)}\x92."),
    "extension": op(b"\x82\x01."),
    "persistent id": op(b"K\x01Q."),
    "old instance": op(b"(ios\nsystem\n."),
    "no stop": op(b"K\x01"),
    "empty stack": op(b"."),
    "mark as value": op(b"(."),
    "tuple without mark": op(b"t."),
    "memo that is not there": op(b"h\x05."),
    "bytes longer than the file": op(b"\x8e" + struct.pack("<Q", 2**62) + b"."),
    "text longer than the file": op(b"X\xff\xff\xff\xff."),
    "huge integer": op(b"\x8b" + struct.pack("<i", 2**30) + b"."),
    "negative length": op(b"\x8b" + struct.pack("<i", -5) + b"."),
    "unhashable key": op(b"}]K\x01s."),
    "a method's name as an attribute": op(b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb."),
    "a list in itself": op(b"]\x94h\x00a."),
    "deep": op(b"]" * 100_000 + b"a" * 99_999 + b"."),
    "laughs": op(
        b"]("
        + b"K\x01" * 10
        + b"e"
        + b"".join(b"\x94](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"e" for i in range(12))
        + b"."
    ),
    "newer protocol": b"\x80\x09.",
    "array half built": op(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR."),
    "a type alone": op(b"cnumpy\nndarray\n."),
    "endless name": op(b"c" + b"a" * 5000),
}


@pytest.mark.parametrize("name", list(WEIRD))
def test_weird_pickles(tmp_path, name):
    for whole in (WEIRD[name], zip_with(WEIRD[name])):
        (tmp_path / "a.pth").write_bytes(whole)
        with pytest.raises(CheckpointError, match=r"a\.pth: "):
            read(tmp_path / "a.pth", "numpy")


def array_pickle(shape, dtype, data, fortran=False):
    return pickle.dumps(
        Call(np.core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=(1, shape, dtype, fortran, data)), 4
    )


@pytest.mark.parametrize(
    ("shape", "dtype", "data"),
    [
        ((3,), "f4", b"\0" * 11),
        ((3,), "f4", b"\0" * 16),
        ((2**40, 2**40), "f4", b""),
        ((-1,), "f4", b""),
        ((-1, -1), "u1", b"\0"),
        ((2,), "O", [1, 2]),
        ((1,), "U2", b"\0" * 8),
        ((1,), "V4", b"\0" * 4),
        ((1,), [("a", "f4")], b"\0" * 4),
        ((1,), "M8[s]", b"\0" * 8),
        ((1,) * 33, "u1", b"\0"),
        ("a", "u1", b"\0"),
        ((1,), "f4", "abcd"),
        ((1.0,), "u1", b"\0"),
    ],
)
def test_impossible_arrays(tmp_path, shape, dtype, data):
    (tmp_path / "a.pkl").write_bytes(array_pickle(shape, np.dtype(dtype), data))
    with pytest.raises(CheckpointError):
        read(tmp_path / "a.pkl")


def tensor_zip(offset, shape, strides, size=4, bytes_there=16, key="0"):
    pid = ("storage", torch.FloatStorage, key, "cpu", size)

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return pid if value == "the storage" else None

    buffer = io.BytesIO()
    arguments = ("the storage", offset, shape, strides, False, {})
    Pickler(buffer, 2).dump({"w": Call(torch._utils._rebuild_tensor_v2, *arguments)})
    return zip_with(buffer.getvalue(), **{"0": b"\0" * bytes_there})


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "more"),
    [
        (0, (5,), (1,), {}),
        (1, (4,), (1,), {}),
        (-1, (1,), (1,), {}),
        (0, (2, 2), (3, 1), {}),
        (0, (2,), (-1,), {}),
        (0, (2**40,), (0,), {}),
        (0, (-2,), (1,), {}),
        (0, (2, 2), (1,), {}),
        (2**62, (1,), (1,), {}),
        (0, (4,), (1,), {"bytes_there": 15}),
        (0, (4,), (1,), {"key": "7"}),
        (0, (4,), (1,), {"key": "../../data.pkl"}),
    ],
)
def test_views_stay_inside_their_storage(tmp_path, offset, shape, strides, more):
    (tmp_path / "ok.pth").write_bytes(tensor_zip(0, (2, 2), (2, 1)))
    assert read(tmp_path / "ok.pth", "numpy")["w"].shape == (2, 2)
    (tmp_path / "a.pth").write_bytes(tensor_zip(offset, shape, strides, **more))
    with pytest.raises(CheckpointError, match=r"storage|damaged \(its shape\)|damaged array|\(a tensor\)"):
        read(tmp_path / "a.pth", "numpy")


def foreign_files():
    compressed = io.BytesIO()
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"a": 1}) * 50)
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    return {
        "empty": (b"", "empty"),
        "text": (b"these are the weights\n", "not a checkpoint"),
        "html": (b"\n<!DOCTYPE html><html>404</html>", "web page"),
        "zip": (other.getvalue(), r"data\.pkl"),
        "compressed": (compressed.getvalue(), "compressed"),
        "one byte": (b"\x80", "not a checkpoint"),
        "zeros": (b"\0" * 100, "not a checkpoint"),
        "header": (struct.pack("<Q", 10) + b"{bad json  ", "safetensors"),
        "not a dict": (struct.pack("<Q", 4) + b'{"a"', "safetensors"),
    }


@pytest.mark.parametrize("name", list(foreign_files()))
@pytest.mark.parametrize("loader", ["numpy", "torch"])
def test_foreign_files(tmp_path, name, loader):
    data, message = foreign_files()[name]
    (tmp_path / "a.pth").write_bytes(data)
    expected = message if loader == "numpy" else ""
    with pytest.raises(CheckpointError, match=rf"a\.pth: .*{expected}"):
        read(tmp_path / "a.pth", loader)


def test_missing_and_directory(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="not a file"):
        read(tmp_path)


def test_state_dict_reader_imports_no_framework(tmp_path):
    whole_files(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['jittor'] = None\n"
        "import weight_convert\n"
        "for name in ('a.pth', 'a.pkl', 'a.safetensors', 'old.pth', 'plain.pkl'):\n"
        "    assert len(weight_convert.read_state_dict(sys.argv[1] + '/' + name)) == 2, name\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
