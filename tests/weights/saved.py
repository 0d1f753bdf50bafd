"""Files that the readers are tried on."""

import argparse
import io
import pickle
import zipfile

import numpy as np
import torch

from weight_convert import write


def zip_with(data, **members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", b"little")
        for name, value in members.items():
            archive.writestr(f"archive/data/{name}", value)
    return buffer.getvalue()


def whole_files(folder):
    tree = {"model": {"w": np.arange(300, dtype="f4"), "b": np.ones((2, 2), "i8")}, "args": argparse.Namespace(x=[1])}
    write(tree, folder / "a.pth")
    write(tree, folder / "a.pkl")
    write(tree["model"], folder / "a.safetensors")
    tensors = {name: torch.from_numpy(value) for name, value in tree["model"].items()}
    torch.save({"model": tensors}, folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "plain.pkl").write_bytes(pickle.dumps(tree))
    return ["a.pth", "a.pkl", "a.safetensors", "old.pth", "plain.pkl"]
