"""``python -m parity gotchas``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from detr_common.errors import InputError
from parity.gotchas import CATALOGUE, THEMES, Gotcha
from parity.gotchas.check import Finding, check
from parity.gotchas.markdown import document, example
from parity.gotchas.measured import record


def gotchas_command(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Entries to show. Default: list all.")
    ] = None,
    run: Annotated[bool, typer.Option("--check", help="Run the lines: is it true of the installed versions?")] = False,
    write: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the catalogue as Markdown.")] = None,
    record_results: Annotated[
        bool, typer.Option("--record", help="Run all lines and keep what they give for --write.")
    ] = False,
) -> None:
    """Where Jittor differs from PyTorch: list the entries, show some, or run them."""
    console = Console(highlight=False, soft_wrap=True)
    entries = _chosen(ids or [])
    if run or record_results:
        if record_results and ids:
            raise InputError("--record keeps the results of all entries; leave out the names")
        findings = check(entries)
        _print_findings(console, findings)
        if not all(findings) or not findings:
            raise typer.Exit(1 if findings else 2)
        if record_results:
            record(findings)
    if write:
        try:
            write.write_text(document(), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{write}: cannot be written: {error.strerror}") from error
        console.print(f"{write}: {len(CATALOGUE)} entries", markup=False)
    elif ids and not run:
        for entry in entries:
            console.print(f"{entry.title}\n{entry.differs}\n\n{example(entry)}\n", markup=False)
    elif not run and not record_results:
        _print_list(console)


def _chosen(ids: list[str]) -> list[Gotcha]:
    unknown = [name for name in ids if name not in CATALOGUE]
    if unknown:
        raise InputError(f"no such entry: {', '.join(unknown)}; list them with: python -m parity gotchas")
    return [CATALOGUE[name] for name in ids] or list(CATALOGUE.values())


def _print_list(console: Console) -> None:
    width = max(map(len, CATALOGUE))
    for theme in THEMES:
        console.print(f"[bold]{theme.title}[/]")
        for entry in theme.entries:
            console.print(f"  {entry.id:<{width}}  {entry.title}", markup=False)
    console.print("\npython -m parity gotchas ID     show an entry\npython -m parity gotchas --check   run them all")


def _print_findings(console: Console, findings: list[Finding]) -> None:
    for finding in findings:
        if not finding:
            console.print(f"{finding.entry.id}: no longer as described", style="red", markup=False)
            for fault in finding.faults:
                console.print(f"    {fault}", markup=False)
    true = sum(map(bool, findings))
    console.print(f"{true} of {len(findings)} entries are true of the installed versions")
