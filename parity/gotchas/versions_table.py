"""Writes docs/gotchas-versions.md: what each version of Jittor does with the lines of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from parity.gotchas import CATALOGUE, THEMES
from parity.gotchas.entry import Gotcha, Relation
from parity.gotchas.versions import AGREES, DESCRIBED, ELSE, ENDS, HANGS, NOT_RUN, RAISES, Record, Told, read_records

_HEAD = """# Where Jittor differs from PyTorch, version by version

<!-- Written by `make gotchas`, or from what was measured before by
`python -m parity gotchas --write-versions docs/gotchas-versions.md`. -->

[The catalogue](gotchas.md) tells what Jittor {described} does. `make gotchas` runs its {count} entries with {versions},
each in an environment of its own with a kernel cache of its own, and compares every line with what PyTorch gives.
An entry is *as described* where its naive line, the one that one would write first, does what the catalogue says; of a
line that gives something else than PyTorch this means that it does so, not that it is the same value in every version.
What is not as described is run once more in a process of its own, and this is what counts. {beside}
"""
_NOT_YET = "not run since the entry was changed"
_SHORT = {DESCRIBED: "✓", AGREES: "agrees", RAISES: "raises", ENDS: "**ends**", HANGS: "**hangs**", ELSE: "other"}


def versions_document(records: Mapping[str, Record] | None = None) -> str:
    """Return the table of all records as Markdown.

    Args:
        records: by version; those that were kept, by default.
    """
    kept = list((read_records() if records is None else records).values())
    entries = [entry for entry in CATALOGUE.values() if not entry.not_run]
    uneven = [entry for entry in entries if len({_full(record, entry) for record in _run(kept)}) > 1]
    parts = [_head(kept, entries), "## Summary\n", _summary(kept, entries)]
    missing = [f"- {record.version} {record.missing}" for record in kept if record.missing]
    if missing:
        parts += ["Nothing could be run with:\n", "\n".join(missing) + "\n"]
    parts.append(
        f"## Not the same in all versions\n\n{len(uneven)} entries; what is said of the correct line follows.\n"
    )
    parts.append(_table(kept, uneven, _full, lambda entry: f"[{_cell(entry.title)}](gotchas.md#{entry.id})"))
    parts.append("## All entries\n")
    parts.append(
        "✓ as described, and the correct line agrees with PyTorch. Otherwise what the naive line does: it agrees with\n"
        "PyTorch, raises, ends its process, hangs, or gives something else. ✗ the correct line does not agree.\n"
    )
    for theme in THEMES:
        run = [entry for entry in theme.entries if not entry.not_run]
        parts.append(f"### {theme.title}\n")
        parts.append(_table(kept, run, _short, lambda entry: f"[`{entry.id}`](gotchas.md#{entry.id})"))
    return "\n".join(parts).rstrip() + "\n"


def summary_lines(records: Iterable[Record]) -> Iterator[str]:
    """Yield a line for each version, for the screen."""
    entries = [entry for entry in CATALOGUE.values() if not entry.not_run]
    for record in records:
        if record.missing:
            yield f"{record.version} {record.missing}"
        else:
            told = {name: count(record, entries) for name, count in _COUNTS.items()}
            yield (
                f"{record.version}: {told['as described']} of {told['entries run']} as described, "
                f"{told['behaving otherwise']} otherwise; correct lines that do not agree: "
                f"{told['correct line does not agree']}, entries that end a process: "
                f"{told['a line ends its process']}, that hang: {told['a line hangs']}"
            )


def _told(record: Record, entries: list[Gotcha]) -> list[tuple[Gotcha, Told]]:
    return [(entry, told) for entry in entries if (told := record.told(entry)) is not None]


def _counting(fits: Callable[[Gotcha, Told], bool]) -> Callable[[Record, list[Gotcha]], int]:
    return lambda record, entries: sum(fits(entry, told) for entry, told in _told(record, entries))


def _otherwise(told: Told) -> bool:
    return told.naive != DESCRIBED and not told.naive.startswith(NOT_RUN)


def _ends(entry: Gotcha, told: Told) -> bool:
    described = entry.relation is Relation.DIES and told.naive == DESCRIBED
    return described or told.naive.startswith(ENDS) or told.correct.startswith(ENDS)


_COUNTS = {
    "entries run": _counting(lambda _, told: not told.naive.startswith(NOT_RUN)),
    "as described": _counting(lambda _, told: told.naive == DESCRIBED),
    "behaving otherwise": _counting(lambda _, told: _otherwise(told)),
    "of these, agreeing with PyTorch": _counting(lambda _, told: told.naive.startswith(AGREES)),
    "of these, raising": _counting(lambda _, told: told.naive.startswith(RAISES)),
    "of these, giving something else": _counting(lambda _, told: told.naive.startswith(ELSE)),
    "correct line does not agree": _counting(
        lambda _, told: told.correct not in ("", AGREES) and not told.correct.startswith(NOT_RUN)
    ),
    "a line ends its process": _counting(_ends),
    "of these, as described": _counting(lambda entry, told: _ends(entry, told) and told.naive == DESCRIBED),
    "a line hangs": _counting(lambda _, told: HANGS in (told.naive.split(" ")[0], told.correct.split(" ")[0])),
}


def _head(records: list[Record], entries: list[Gotcha]) -> str:
    beside = sorted({tuple(record.beside.items()) for record in _run(records)})
    said = [", ".join(f"{_NAMES[name]} {version}" for name, version in versions) for versions in beside]
    return _HEAD.format(
        described=" and ".join(sorted({entry.seen_on for entry in entries})),
        count=len(entries),
        versions=", ".join(record.version for record in records) or "no version yet",
        beside=f"Beside it: {'; or '.join(said)}." if said else "",
    )


_NAMES = {"python": "Python", "numpy": "NumPy", "torch": "PyTorch"}


def _run(records: list[Record]) -> list[Record]:
    return [record for record in records if not record.missing]


def _summary(records: list[Record], entries: list[Gotcha]) -> str:
    rows = [["", *(record.version for record in records)]]
    for name, count in _COUNTS.items():
        rows.append([name, *("–" if record.missing else str(count(record, entries)) for record in records)])
    return _rows(rows)


def _table(
    records: list[Record],
    entries: list[Gotcha],
    cell: Callable[[Record, Gotcha], str],
    name: Callable[[Gotcha], str],
) -> str:
    rows = [["entry", *(record.version for record in records)]]
    rows += [[name(entry), *("–" if r.missing else cell(r, entry) for r in records)] for entry in entries]
    return _rows(rows)


def _rows(rows: list[list[str]]) -> str:
    head, *rest = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *rest]) + "\n"


def _full(record: Record, entry: Gotcha) -> str:
    told = record.told(entry)
    if told is None:
        return _NOT_YET
    return _cell(told.naive) if told.correct in ("", AGREES) else f"{_cell(told.naive)}; ✗ {_cell(told.correct)}"


def _short(record: Record, entry: Gotcha) -> str:
    told = record.told(entry)
    if told is None:
        return _NOT_YET
    words = next((short for word, short in _SHORT.items() if told.naive.startswith(word)), NOT_RUN)
    return words if told.correct in ("", AGREES) or told.correct.startswith(NOT_RUN) else f"{words} ✗"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
