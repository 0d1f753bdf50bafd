from __future__ import annotations

import pytest

from parity.ops import NAMES
from parity.ops.session import Result, run_ops


def wanted(request: pytest.FixtureRequest, fixture: str) -> list[str]:
    """The operations of all collected tests that use a fixture, in the order of the catalogue."""
    chosen = {
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and fixture in item.fixturenames and hasattr(item, "callspec")
    }
    return [name for name in NAMES if name in chosen]


@pytest.fixture(scope="session")
def correct_forms(request: pytest.FixtureRequest) -> dict[str, Result]:
    """Results of the collected operations, from one process."""
    return {r.name: r for r in run_ops(wanted(request, "correct_forms"), examples=20).results}


@pytest.fixture(scope="session")
def naive_forms(request: pytest.FixtureRequest) -> dict[str, Result]:
    """Results of the naive forms of the collected operations, from one process."""
    return {r.name: r for r in run_ops(wanted(request, "naive_forms"), examples=20, naive=True).results}
