"""PyTorch tensors to NumPy arrays and back, every dtype kept. PyTorch is imported on the first call only."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from weight_convert.admitted import BFLOAT16
from weight_convert.errors import CheckpointError
from weight_convert.records import MAX_REPEATED
from weight_convert.torch_dtypes import DTYPES
from weight_convert.tree import Array, NumpyArray, join, keep_numpy, rebuild
from weight_convert.unpickle import FAULTS


class UnknownName(CheckpointError):
    """PyTorch's restricted loader met a class or function that it does not admit."""


def warm_up() -> None:
    """Import PyTorch and what its first save and load import."""
    import torch

    buffer = io.BytesIO()
    torch.save(torch.zeros(1), buffer)
    buffer.seek(0)
    torch.load(buffer, weights_only=True)


def load(path: Path, records: Mapping[str, int] | None) -> Any:
    """Read a ``.pth`` file with PyTorch's restricted loader; arrays of the zip format are mapped from the file.

    Args:
        path: the file.
        records: what our own reader found in a zip archive, and where; None for the legacy format.

    Raises:
        UnknownName: PyTorch refuses it because of a class or function in it.
        CheckpointError: PyTorch refuses it.
    """
    import torch

    try:
        if records is not None and _records(path) != records:
            raise CheckpointError(
                "is a zip archive that PyTorch would read otherwise, so none of its own; save it again"
            )
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # of old pickle protocols: they are read or refused all the same
            tree = torch.load(os.fspath(path), map_location="cpu", weights_only=True, mmap=records is not None)
    except CheckpointError:
        raise
    except (pickle.UnpicklingError, RuntimeError, AssertionError, EOFError, OSError, LookupError, *FAULTS) as fault:
        text = " ".join(str(fault).split())
        if isinstance(fault, pickle.UnpicklingError) and "GLOBAL" in text:
            raise UnknownName(f"PyTorch's restricted loader refuses it: {_first_sentence(text)}") from fault
        raise CheckpointError(f"PyTorch's restricted loader refuses it: {_first_sentence(text)}") from fault
    return rebuild(tree, _to_numpy)


def _records(path: Path) -> dict[str, int]:
    """What PyTorch's own reader of zip archives finds, and where.

    It goes about headers and names otherwise than Python's does: whoever knows that could make one archive of two, and
    only a pickle that our own reader has been through is known to end.
    """
    import torch

    reader = torch._C.PyTorchFileReader(os.fspath(path))
    names = [name for name in reader.get_all_records() if name and not name.endswith("/")]
    return {name: reader.get_record_offset(name) for name in names}


def _first_sentence(text: str) -> str:
    for start in ("WeightsUnpickler error: ",):
        if start in text:
            text = text.split(start, 1)[1]
    return text[:200]


def _to_numpy(value: Any, place: str) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return _tensor_to_numpy(value, place)
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, np.ndarray):
        return keep_numpy(value)
    if isinstance(value, np.generic):
        return value
    raise CheckpointError(f"{place or 'the top'} holds a {type(value).__name__}, which is not data")


def _tensor_to_numpy(tensor: Any, place: str) -> Array:
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or str(tensor.dtype).split(".")[1] not in DTYPES:
        raise CheckpointError(f"{place} is a tensor of {tensor.dtype}, {tensor.layout}, which NumPy cannot hold")
    if tensor.nbytes > max(tensor.untyped_storage().nbytes(), MAX_REPEATED):
        raise CheckpointError(f"has a tensor of shape {list(tensor.shape)} far larger than its storage, at {place}")
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(BFLOAT16)  # type: ignore[no-any-return]
    return tensor.numpy()  # type: ignore[no-any-return]


def save(tree: object, path: Path) -> None:
    """Write a tree with ``torch.save``; arrays become tensors, but those of `tree.keep_numpy` stay NumPy's.

    ``torch.load(weights_only=True)`` reads it, argparse.Namespace allowed first, if nothing of NumPy's is in it.

    Raises:
        CheckpointError: PyTorch cannot hold a leaf, whose place is named, or cannot write.
        ImportError: PyTorch is not installed.
    """
    import torch

    _check_loadable(tree, "")
    tensors = rebuild(tree, _to_tensor)
    try:
        torch.save(tensors, os.fspath(path))
    except RuntimeError as fault:  # of its writer, which does not keep the system's reason
        text = _first_sentence(" ".join(str(fault).split()))
        raise CheckpointError(f"PyTorch could not write it; is the disk full? ({text})") from fault


def _check_loadable(node: Any, place: str) -> None:
    """Refuse the two kinds of value that torch.save writes and torch.load(weights_only=True) then refuses."""
    if isinstance(node, frozenset) or (isinstance(node, bytes) and not node):
        kind = "a frozenset" if isinstance(node, frozenset) else "an empty bytes"
        raise CheckpointError(f"{place or 'the top'} is {kind}, which torch.load(weights_only=True) refuses")
    if isinstance(node, OrderedDict):
        _check_loadable(vars(node), place)
    if isinstance(node, argparse.Namespace):
        node = vars(node)
    if isinstance(node, (dict, list, tuple)):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            _check_loadable(child, join(place, key))


def _to_tensor(value: Any, place: str) -> Any:
    import torch

    if isinstance(value, (NumpyArray, np.generic)):
        return value if isinstance(value, np.generic) else np.array(value)
    if value.dtype.name not in DTYPES:
        raise CheckpointError(f"{place or 'the top'} has dtype {value.dtype}, which PyTorch does not know")
    value = np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")
    unusual = any(stride < 0 or stride % value.itemsize for stride in value.strides)  # of dimensions of size one
    if unusual or not value.flags.writeable or not value.flags.aligned:
        value = value.copy()
    if value.dtype == BFLOAT16:
        return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(value)
