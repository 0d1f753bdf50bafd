"""``python -m parity mutants``: list the known faults, or plant each and print the kill table."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from detr_common.errors import InputError
from parity.mutants import CATALOGUE
from parity.mutants.clean import clean_case, clean_results
from parity.mutants.kills import Kill, kills
from parity.mutants.mutant import Mutant
from parity.output import Output
from parity.report import print_mutants

_INTRODUCTION = """\
# Planted faults

A checker that has never failed proves nothing. Each of these faults, which porters really make, was planted in the
Jittor model of a small detector; the rung that must find it ran, and this is what it blamed first. Written by
`python -m parity mutants --run --smallest --write docs/mutants.md`; `python -m parity RUNG --mutant NAME` plants one.

The error is how many times the bound the first failing tensor was off; "unlike" stands for integers that differ, a
shape, or a tensor that only one side has. Where a fault has a size, the last column is the smallest, in powers of ten
below its own, at which it was still found in the same place; `--mutant NAME=SIZE` plants it at any size.
"""


def mutants_command(
    run: Annotated[bool, typer.Option("--run", help="Plant each on a small detector; print what was blamed.")] = False,
    k: Annotated[str, typer.Option("-k", metavar="NAME", help="Only faults with this in their rung or name.")] = "",
    smallest: Annotated[
        bool, typer.Option("--smallest", help="Look for the smallest size at which a fault is still found.")
    ] = False,
    clean: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Instead, run N generated cases without a fault.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the table of --run as Markdown as well; as JSON if the name ends in .json."
        ),
    ] = None,
) -> None:
    """List the known faults of a port, or plant each of them and print where it was found."""
    if clean and (run or k or write or smallest):
        raise InputError("--clean plants no fault; give it alone")
    if clean:
        raise typer.Exit(0 if run_clean(clean, Output()) else 1)
    mutants = [mutant for mutant in CATALOGUE.values() if k in f"{mutant.rung} {mutant.name}"]
    if not mutants:
        raise InputError(f"-k {k}: no fault has this in its rung or name; leave -k out to list them all")
    for option in ("--write",) * bool(write) + ("--smallest",) * smallest:
        if not run:
            raise InputError(f"{option}: only --run plants faults; add it")
    if write and k:
        raise InputError("--write: with -k the table would lack most faults; leave out one of the two")
    if write and not write.parent.is_dir():
        raise InputError(f"--write {write}: there is no folder {write.parent}; create it first")
    console = Output()
    if not run:
        print_mutants(mutants, console)
        return
    table = run_mutants(mutants, console, smallest)
    if write:
        write.write_text(as_json(table) if write.suffix == ".json" else markdown(table), encoding="utf-8")
        console.print(f"{write}: {len(table)} faults", markup=False, highlight=False)
    raise typer.Exit(0 if all(kill.placed for kill in table) else 1)


def run_mutants(mutants: Sequence[Mutant], console: Console, smallest: bool = False) -> list[Kill]:
    """Plant faults and print a line for each as it is done."""
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for kill in kills(mutants, Path(folder), smallest):
            table.append(kill)
            mark = "✓" if kill.placed else "✗"
            place = "" if kill.placed else f", expected at {kill.mutant.module}"
            line = f"{mark} {kill.mutant.rung:<9} {kill.mutant.name:<32} {found(kill)}{place}, {excess(kill)}"
            least = f", down to {kill.smallest:.0e}" if kill.smallest else ""
            console.print(line + least, markup=False, highlight=False, soft_wrap=True)
    killed, placed = sum(bool(kill.owner) for kill in table), sum(kill.placed for kill in table)
    console.print(f"{killed} of {len(table)} faults found, {placed} where they are expected", highlight=False)
    return table


def run_clean(count: int, console: Console) -> bool:
    """Run generated cases without a fault; print each false alarm as it comes, and how many there were."""
    alarms = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, result in enumerate(clean_results(map(clean_case, range(count)), Path(folder))):
            if result.alarm:
                alarms += 1
                why = result.verdict.reason if result.verdict is not None else "a worker died"
                console.print(f"✗ {result.case}: {why}", markup=False, highlight=False, soft_wrap=True)
            if number % 10 == 9:
                console.print(f"{number + 1} of {count} cases, {alarms} false alarms", highlight=False)
    console.print(f"{count} generated cases without a fault, {alarms} false alarms", highlight=False)
    return not alarms


def found(kill: Kill) -> str:
    """Say where a fault was found."""
    if kill.verdict is None:
        return "a worker died"
    return f"at {kill.owner}" if kill.owner else "not found"


def excess(kill: Kill) -> str:
    """Say by how much the first failing tensor was off."""
    if kill.verdict is None:
        return "nothing was compared"
    if not kill.owner:
        return "within all bounds"
    return f"{kill.excess:.1e} times the bound" if math.isfinite(kill.excess) else "unlike"


def markdown(table: Sequence[Kill]) -> str:
    """Return the kill table as a page, a section for each rung."""
    killed, placed = sum(bool(kill.owner) for kill in table), sum(kill.placed for kill in table)
    parts = [_INTRODUCTION, f"**{killed} of {len(table)} faults found, {placed} where they are expected.**\n"]
    for rung in dict.fromkeys(kill.mutant.rung for kill in table):
        rows = [kill for kill in table if kill.mutant.rung == rung]
        parts.append(f"## {rung.capitalize()}: {len(rows)}\n")
        parts.append("| fault | what is wrong | expected at | found at | error | smallest found |")
        parts.append("| --- | --- | --- | --- | --- | --- |")
        parts += [_row(kill) for kill in rows]
        parts.append("")
    return "\n".join(parts)


def as_json(table: Sequence[Kill]) -> str:
    """Return the kill table as JSON, for ``parity report --kills``."""
    faults = [
        {
            "rung": kill.mutant.rung,
            "name": kill.mutant.name,
            "what": kill.mutant.what,
            "expected": kill.mutant.module,
            "found": kill.owner,
            "told": found(kill),
            "error": excess(kill),
            "smallest": f"{kill.smallest:.0e}" if kill.smallest else "",
        }
        for kill in table
    ]
    return json.dumps({"faults": faults}, indent=1) + "\n"


def _row(kill: Kill) -> str:
    mutant = kill.mutant
    cells = [
        f"`{mutant.name}`",
        mutant.what,
        f"`{mutant.module}`",
        f"`{kill.owner}`" if kill.owner else f"**{found(kill)}**",
    ]
    return f"| {' | '.join([*cells, excess(kill), f'{kill.smallest:.0e}' if kill.smallest else ''])} |"
