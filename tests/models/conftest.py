from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sides import Arrays, observe_both

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def observe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Arrays]]:
    """Run ``observe_TOPIC.observe`` in both packages and return the arrays of each by the framework's name."""

    def run(topic: str, **inputs: object) -> dict[str, Arrays]:
        return observe_both(topic, HERE, tmp_path_factory.mktemp(topic), **inputs)

    return run


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
