"""What the tests of these rungs have in common."""

from collections.abc import Iterator

import pytest

from parity.layers import LayersSession


@pytest.fixture(scope="module")
def session() -> Iterator[LayersSession]:
    """The four workers, which go on from test to test."""
    with LayersSession() as session:
        yield session
