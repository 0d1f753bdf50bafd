"""PyTorch's names of dtypes and storages, and the NumPy dtypes they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from weight_convert.admitted import BFLOAT16

STORAGES: dict[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": BFLOAT16,
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
    "ComplexFloatStorage": np.dtype(np.complex64),
    "ComplexDoubleStorage": np.dtype(np.complex128),
}
DTYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": BFLOAT16,
    "int64": np.dtype(np.int64),
    "int32": np.dtype(np.int32),
    "int16": np.dtype(np.int16),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32),
    "uint64": np.dtype(np.uint64),
    "bool": np.dtype(np.bool_),
    "complex64": np.dtype(np.complex64),
    "complex128": np.dtype(np.complex128),
}
# Dtypes of tensors that NumPy cannot hold; as names alone, in a checkpoint's arguments, they are admitted.
UNHELD_DTYPES = frozenset({
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2",
    "complex32", "qint8", "quint8", "qint32", "quint4x2", "quint2x4",
})  # fmt: skip
QUANTIZED_STORAGES = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
# Functions that build tensors that are no plain arrays: what they build, and what to do before saving.
UNHELD = {
    ("torch._utils", "_rebuild_sparse_tensor"): ("a sparse tensor", "save its to_dense()"),
    ("torch._utils", "_rebuild_sparse_csr_tensor"): ("a sparse tensor", "save its to_dense()"),
    ("torch._utils", "_rebuild_qtensor"): ("a quantized tensor", "save its dequantize()"),
    ("torch._utils", "_rebuild_nested_tensor"): ("a nested tensor", "save its to_padded_tensor(0)"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): (
        "a tensor without numbers (device meta)",
        "fill it first",
    ),
}
# Names that only appear among the arguments of those functions.
UNHELD_ARGUMENTS = (
    ("torch.serialization", "_get_layout"),
    ("torch", "per_tensor_affine"),
    ("torch", "per_channel_affine"),
    ("torch", "per_channel_affine_float_qparams"),
)
