"""Every operation agrees on generated inputs, and the naive form of those that have one does not."""

from __future__ import annotations

import pytest

from parity.gotchas import CATALOGUE
from parity.ops import NAIVE, NAMES
from parity.ops.session import Result


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_both_frameworks_agree(name: str, correct_forms: dict[str, Result]) -> None:
    result = correct_forms[name]
    assert result, f"{result.complaint}\n{result.case}"
    assert result.worst64 <= 1e-12
    assert result.worst32 <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NAIVE)
def test_the_naive_form_is_found_wrong(name: str, naive_forms: dict[str, Result]) -> None:
    result = naive_forms[name]
    assert not result, f"{name}: the naive form agrees on {result.cases} cases"
    assert result.case
    assert result.gotcha in CATALOGUE
