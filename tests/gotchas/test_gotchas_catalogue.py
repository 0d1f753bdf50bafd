"""Every entry of the catalogue is run, and is true of the installed versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.gotchas import CATALOGUE, THEMES
from parity.gotchas.check import Finding
from parity.gotchas.markdown import document

RUN = [entry.id for entry in CATALOGUE.values() if not entry.not_run]


@pytest.mark.slow
@pytest.mark.parametrize("id", RUN)
def test_the_entry_is_true(id: str, findings: dict[str, Finding]) -> None:
    finding = findings[id]
    assert finding, "\n".join([*finding.faults, *(f"{n}: {o}" for n, o in finding.outcomes.items())])


def test_every_entry_has_a_name_of_its_own() -> None:
    assert len(CATALOGUE) == sum(len(theme.entries) for theme in THEMES)


def test_the_document_is_up_to_date() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "gotchas.md"
    assert path.read_text(encoding="utf-8") == document(), "python -m parity gotchas --write docs/gotchas.md"
