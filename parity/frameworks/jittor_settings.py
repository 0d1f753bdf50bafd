"""Versions and flags of Jittor."""

from __future__ import annotations

from contextlib import suppress

import detr_jt  # noqa: F401 - readies Jittor, so it comes before Jittor itself

# isort: split
import jittor as jt
import numpy as np


def release() -> None:
    """Give back what Jittor's own allocator keeps."""
    with suppress(Exception):  # a model that raised may still hold what cannot be computed
        jt.sync_all()
    jt.gc()


def environment() -> dict[str, str]:
    """Return versions and flags."""
    return {
        "jittor": jt.__version__,
        "numpy": np.__version__,
        "mkl": str(bool(jt.compile_extern.use_mkl)),
        "cuda": str(bool(jt.has_cuda)),
        "cache": jt.flags.cache_path,
    }
