from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detr_common.options import default_args
from parity.batch import photograph_batch
from parity.demo import write_seeded_checkpoint
from parity.layers import LayersJob, LayersSession


class Lab:
    """Runs the layers rung; a checkpoint is written once for each set of options."""

    def __init__(self, session: LayersSession, folder: Path, checkpoints: dict[str, Path]) -> None:
        self.session = session
        self.folder = folder
        self.checkpoints = checkpoints

    def job(self, size: int = 96, mutant: str = "", **options: Any) -> LayersJob:
        args = default_args(**options)
        key = repr(sorted(options.items()))
        if key not in self.checkpoints:
            self.checkpoints[key] = write_seeded_checkpoint(args, self.folder / f"{len(self.checkpoints)}.pkl")
        return LayersJob(args, self.checkpoints[key], photograph_batch([], size), mutant=mutant)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    return tmp_path_factory.mktemp("checkpoints"), {}


@pytest.fixture
def lab(detector_workers: Callable[[], LayersSession], checkpoints: tuple[Path, dict[str, Path]]) -> Lab:
    # Asked for once in a test, so that one in which they die does not go on with others.
    return Lab(detector_workers(), *checkpoints)
