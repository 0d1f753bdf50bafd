"""The ViT example, recorded once in each framework."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from recorded_example import described

from parity.recording.jobs import record_port


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Folders of PyTorch's recording and of Jittor's."""
    folder = tmp_path_factory.mktemp("recordings")
    port = described()
    port.free = 3
    record_port(port, "torch", folder / "torch", operations=True)
    record_port(port, "jittor", folder / "jittor", folder / "torch", operations=True)
    yield folder / "torch", folder / "jittor"
