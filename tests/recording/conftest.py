"""The ViT example, recorded once in each framework."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parity.recording.jobs import record_port

EXAMPLE = Path("docs/examples/vit")


def described(port: str = str(EXAMPLE / "vit_jittor.py")) -> Any:
    """Return the description of the example with a port of one's own."""
    spec = importlib.util.spec_from_file_location("compare_vit", EXAMPLE / "compare_vit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.describe(port)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Folders of PyTorch's recording and of Jittor's."""
    folder = tmp_path_factory.mktemp("recordings")
    port = described()
    port.free = 3
    record_port(port, "torch", folder / "torch", operations=True)
    record_port(port, "jittor", folder / "jittor", folder / "torch", operations=True)
    yield folder / "torch", folder / "jittor"
