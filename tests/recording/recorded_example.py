"""The ViT example, with the port that is under docs or another."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

EXAMPLE = Path("docs/examples/vit")


def described(port: str = str(EXAMPLE / "vit_jittor.py")) -> Any:
    """Return the description of the example with a port of one's own."""
    spec = importlib.util.spec_from_file_location("compare_vit", EXAMPLE / "compare_vit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.describe(port)
