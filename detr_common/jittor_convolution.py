"""Jittor's convolutions on the CPU computed by the kernels of oneDNN that PyTorch's are computed by, and its products.

Jittor asks for a convolution "for inference, of any algorithm" and takes the first kernel that oneDNN offers. On
processors with AVX-512 that is one whose float32 sums round two to four times as much as PyTorch's and which is slower
(docs/measured.md). The next that it offers is PyTorch's own choice, and then both frameworks agree to the last bit.
The kernels of Jittor are compiled with a header that asks for that one, and that takes arrays in oneDNN's layouts from
the memory that Jittor has and does not use: a step at 800 pixels needs half a gigabyte less. It also lets all threads
take part in products by weights, of which oneDNN leaves some to one thread.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from detr_common.jittor_headers import write_whole

_HEADER = Path(__file__).parent / "onednn" / "dnnl.hpp"


def use(jittor: Any) -> bool:
    """Let the convolutions of this process be computed so; nothing is changed where that cannot be prepared.

    Call it before the first convolution. float64 is not touched: Jittor computes it without oneDNN.

    Args:
        jittor: the module.

    Returns:
        Whether it was done: not where Jittor computes without oneDNN.
    """
    if getattr(jittor, "mkl_ops", None) is None:
        return False
    flags = jittor.flags
    text = _HEADER.read_text(encoding="utf8")
    # Jittor compiles a kernel anew when its command changes, not when such a header does: so its contents are in the
    # path, and the path is none of this package's, which other checkouts with the same cache would not share.
    folder = Path(flags.cache_path) / "headers" / f"onednn-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if f'"{folder}"' in flags.cc_flags:
        return True
    header = folder / _HEADER.name
    try:
        if not header.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(header, text)
    except OSError:
        return False
    flags.cc_flags = f' -I"{folder}" {flags.cc_flags}'
    return True
