"""What the tests of these rungs have in common."""

from collections.abc import Callable

import pytest

from parity.layers import LayersSession


@pytest.fixture
def session(detector_workers: Callable[[], LayersSession]) -> LayersSession:
    """The workers, which go on from test to test."""
    return detector_workers()
