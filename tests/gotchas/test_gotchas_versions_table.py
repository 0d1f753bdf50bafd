"""docs/gotchas-versions.md: what is counted, which rows come in full, what is said of a version that is missing."""

from __future__ import annotations

from pathlib import Path

from parity.gotchas import CATALOGUE, versions
from parity.gotchas.entry import Gotcha, Relation
from parity.gotchas.versions import AGREES, DESCRIBED, Record, Told, mark, read_records
from parity.gotchas.versions_table import summary_lines, versions_document

RUN = [e for e in CATALOGUE.values() if not e.not_run]
DIES = next(e for e in RUN if e.relation is Relation.DIES)
OTHERS = [e for e in RUN if e.relation is not Relation.DIES]


def made_up(version: str, **changes: Told) -> Record:
    entries = {e.id: Told(mark(e), DESCRIBED, AGREES if "correct" in e.lines else "") for e in RUN}
    return Record(version, "", {"python": "3.11.7"}, entries | changes)


def changed(e: Gotcha, naive: str, correct: str = AGREES) -> dict[str, Told]:
    return {e.id: Told(mark(e), naive, correct)}


def rows(text: str, start: str) -> dict[str, list[str]]:
    part = text.partition(start)[2].partition("\n## ")[0]
    cells = [[c.strip() for c in line.strip("|").split(" | ")] for line in part.splitlines() if line.startswith("|")]
    return {name: rest for name, *rest in cells}


def test_the_summary_counts_what_was_told() -> None:
    a, b, c, d = OTHERS[:4]
    records = {
        "1": made_up("1"),
        "2": made_up("2", **changed(a, AGREES), **changed(b, "ends the process (SIGSEGV)"), **changed(c, "hangs (x)")),
        "3": made_up("3", **changed(d, DESCRIBED, "raises X: y"), **changed(a, "not run: x")),
        "4": Record("4", "cannot be imported: ImportError: x"),
    }
    died = sum(e.relation is Relation.DIES for e in RUN)
    summary = rows(versions_document(records), "## Summary")
    assert summary[""] == ["1", "2", "3", "4"]
    assert summary["entries run"] == [str(len(RUN)), str(len(RUN)), str(len(RUN) - 1), "–"]
    assert summary["behaving otherwise"] == ["0", "3", "0", "–"]
    assert summary["of these, agreeing with PyTorch"] == ["0", "1", "0", "–"]
    assert summary["correct line does not agree"] == ["0", "0", "1", "–"]
    assert summary["a line ends its process"] == [str(died), str(died + 1), str(died), "–"]
    assert summary["a line hangs"] == ["0", "1", "0", "–"]
    assert [*summary_lines(records.values())][3] == "4 cannot be imported: ImportError: x"


def test_the_rows_that_differ_come_in_full_and_all_rows_after_them() -> None:
    a, b = OTHERS[:2]
    same = changed(b, "raises X: a|b")
    text = versions_document({"1": made_up("1", **same), "2": made_up("2", **same, **changed(a, AGREES, "raises Y"))})
    uneven = rows(text, "## Not the same in all versions")
    assert [row for name, row in uneven.items() if a.id in name] == [[DESCRIBED, f"{AGREES}; ✗ raises Y"]]
    assert not any(f"#{b.id})" in name for name in uneven)
    short = rows(text, "## All entries")
    assert short[f"[`{a.id}`](gotchas.md#{a.id})"] == ["✓", "agrees ✗"]
    assert short[f"[`{b.id}`](gotchas.md#{b.id})"] == ["raises", "raises"]
    assert sum(name.startswith("[`") for name in short) == len(RUN)


def test_a_version_that_could_not_be_run_says_why() -> None:
    text = versions_document({"1": made_up("1"), "2": Record("2", "cannot be installed: no wheel")})
    assert "- 2 cannot be installed: no wheel" in text
    assert not [name for name in rows(text, "## Not the same in all versions") if name.startswith("[")]


def test_an_entry_that_was_changed_since_is_not_shown_as_measured() -> None:
    entry = RUN[0]
    stale = made_up("1", **{entry.id: Told("other", DESCRIBED, AGREES)})
    text = versions_document({"1": stale})
    assert rows(text, "## All entries")[f"[`{entry.id}`](gotchas.md#{entry.id})"] == [
        "not run since the entry was changed"
    ]


def test_the_document_is_up_to_date() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "gotchas-versions.md"
    command = "python -m parity gotchas --write-versions docs/gotchas-versions.md"
    assert path.read_text(encoding="utf-8") == versions_document(), command


def test_the_records_are_of_this_catalogue() -> None:
    assert read_records()
    assert str(Path.home()) not in versions.FILE.read_text(encoding="utf-8")
    assert set().union(*(record.entries for record in read_records().values())) <= set(CATALOGUE)
