from __future__ import annotations

import pytest

from parity.gotchas import CATALOGUE
from parity.gotchas.check import Finding, check


@pytest.fixture(scope="session")
def findings(request: pytest.FixtureRequest) -> dict[str, Finding]:
    """The findings of all entries that are collected, from a handful of processes."""
    wanted = {
        item.callspec.params["id"]
        for item in request.session.items
        if "findings" in getattr(item, "fixturenames", ()) and hasattr(item, "callspec")
    }
    return {f.entry.id: f for f in check([e for e in CATALOGUE.values() if e.id in wanted])}
