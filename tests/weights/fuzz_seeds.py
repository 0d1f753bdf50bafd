"""Small checkpoints of every format, which the inputs of ``fuzz_readers.py`` are made of."""

import argparse
import collections
import io
import pickle
import warnings

import ml_dtypes
import numpy as np
import torch

from weight_convert import keep_numpy, write


def tree():
    """A checkpoint with something of everything that is admitted."""
    ordered = collections.OrderedDict(a=np.ones(3, "f4"))
    ordered._metadata = collections.OrderedDict(a={"version": 1})
    tied = np.arange(4, dtype="f8")
    return {
        "model": {"w": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones(2, "i8"), "t": tied, "u": tied},
        "odd": [np.ones(2, ml_dtypes.bfloat16), np.array(True), np.zeros((0, 3), "u1"), np.ones(2, "c8").T],
        "numpy": [keep_numpy(np.arange(3, dtype="u4")), np.float64(0.5), np.int64(3)],
        "ordered": ordered,
        "args": argparse.Namespace(lr=1e-4, x=[1], name="é"),
        "lr_scheduler": {"milestones": collections.Counter([5, 9, 9]), "big": 2**70, "none": None, 3: (True, 2 + 1j)},
    }


def _saved(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def seeds(folder):
    """Name and bytes of every file that inputs are made of, written in a folder."""
    whole = tree()
    found = {}
    for name in ("a.pth", "a.pkl"):
        write(whole, folder / name)
        found[name] = (folder / name).read_bytes()
    write(whole["model"], folder / "a.safetensors")
    found["a.safetensors"] = (folder / "a.safetensors").read_bytes()
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    tensors = {
        "model": {"w": weight, "t": weight.data.t(), "h": torch.ones(2).half(), "r": torch.ones(1).expand(3)},
        "odd": [torch.ones(2, dtype=torch.cfloat).conj(), torch.tensor(3)],
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(x=1, dtype=torch.float32, device=torch.device("cuda:0"), size=torch.Size([2])),
        "neg": torch.ones(2, dtype=torch.cfloat).conj().imag,
    }
    found["legacy.pth"] = _saved(tensors, _use_new_zipfile_serialization=False)
    # Of a dtype without a storage class: in the old format PyTorch writes such and cannot read them.
    found["zip.pth"] = _saved({**tensors, "u": torch.ones(2, dtype=torch.uint16)})
    found["plain.pth"] = _saved({"w": torch.ones(3), "v": torch.zeros(2, 2)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    found["unheld.pth"] = _saved({"s": torch.ones(2).to_sparse(), "q": quantized})
    numbers = {"w": np.arange(6.0), "f": np.asfortranarray(np.ones((2, 3), ">i4")), "n": [np.float32(1)], "s": {1, 2}}
    for protocol in (2, 3, 4, 5):
        found[f"plain{protocol}.pkl"] = pickle.dumps({**numbers, "x": {"y": (b"z", frozenset("a"))}}, protocol)
    return found
