import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "models"))  # where both frameworks are put behind one face

from sides import Arrays, observe_both  # noqa: E402


@pytest.fixture(scope="session")
def observe_loss(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Arrays]]:
    """Run ``observe_TOPIC.observe`` of this folder in both packages; the arrays of each by the framework's name.

    What was observed without inputs is kept for the next module that asks.
    """
    kept: dict[str, dict[str, Arrays]] = {}

    def run(topic: str, **inputs: object) -> dict[str, Arrays]:
        if inputs:
            return observe_both(topic, HERE, tmp_path_factory.mktemp(topic), **inputs)
        if topic not in kept:
            kept[topic] = observe_both(topic, HERE, tmp_path_factory.mktemp(topic))
        return kept[topic]

    return run
