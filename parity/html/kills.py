"""The kill table: reads what ``parity mutants --run --write`` has written, as JSON or as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_common.errors import InputError

_COLUMNS = 6


@dataclass(frozen=True)
class Row:
    """A planted fault.

    Attributes:
        rung: that must find it.
        name: of the fault.
        what: is wrong.
        expected: the module that must be named.
        found: what was named; empty if nothing was.
        told: what the table says where nothing was found.
        error: how far off the first failing tensor was.
        smallest: size at which it is still found; empty if it has none.
    """

    rung: str
    name: str
    what: str
    expected: str
    found: str
    told: str
    error: str
    smallest: str

    @property
    def placed(self) -> bool:
        """Whether it was found where it is expected."""
        return self.found == self.expected


@dataclass(frozen=True)
class Kills:
    """The table.

    Attributes:
        rows: one for each fault.
    """

    rows: Sequence[Row]

    @property
    def found(self) -> int:
        """How many faults were found."""
        return sum(bool(row.found) for row in self.rows)

    @property
    def placed(self) -> int:
        """How many were found where they are expected."""
        return sum(row.placed for row in self.rows)

    @property
    def rungs(self) -> list[tuple[str, list[Row]]]:
        """The rows of each rung."""
        order = dict.fromkeys(row.rung for row in self.rows)
        return [(rung, [row for row in self.rows if row.rung == rung]) for rung in order]


def read_kills(path: Path) -> Kills:
    """Read a kill table.

    Raises:
        InputError: there is no such file, or no table in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = _from_json(json.loads(text)) if text.lstrip().startswith("{") else _from_markdown(text)
    except OSError as error:
        raise InputError(f"--kills {path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"--kills {path}: is damaged ({error!r})") from None
    if not rows:
        raise InputError(f"--kills {path}: has no table of faults; write it with: parity mutants --run --write FILE")
    return Kills(rows)


def _from_json(data: Mapping[str, Any]) -> list[Row]:
    names = ("rung", "name", "what", "expected", "found", "told", "error", "smallest")
    return [Row(**{name: str(one[name]) for name in names}) for one in data["faults"]]


def _from_markdown(text: str) -> list[Row]:
    rows, rung = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            rung = line[3:].partition(":")[0].strip().lower()
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("| `"):
            continue
        if len(cells) != _COLUMNS:
            raise ValueError(f"a row of {len(cells)} cells, where {_COLUMNS} are due: {line[:60]}")
        name, what, expected, found, error, smallest = cells
        there = found.strip("`") if found.startswith("`") else ""
        rows.append(Row(rung, name.strip("`"), what, expected.strip("`"), there, found.strip("*` "), error, smallest))
    return rows
