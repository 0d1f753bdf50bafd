"""``python -m parity gotchas``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from detr_common.errors import InputError
from parity.gotchas import CATALOGUE, THEMES, Gotcha
from parity.gotchas.check import Finding, check
from parity.gotchas.environments import places
from parity.gotchas.markdown import document, example
from parity.gotchas.measured import record
from parity.gotchas.running import NotStarted
from parity.gotchas.versions import measure_versions
from parity.gotchas.versions_table import summary_lines, versions_document
from parity.process import WorkerError

FOLDER = Path("out/gotchas")


def gotchas_command(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Entries to show. Default: list all.")
    ] = None,
    run: Annotated[bool, typer.Option("--check", help="Run the lines: is it true of the installed versions?")] = False,
    write: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the catalogue as Markdown.")] = None,
    record_results: Annotated[
        bool, typer.Option("--record", help="Run all lines and keep what they give for --write.")
    ] = False,
    versions: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Run all lines with these versions of Jittor, such as 1.3.10.0,1.3.11.0; keep the results.",
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help=f"Where --versions makes its environments. Default: {FOLDER}")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="With --versions: measure what has been measured in that folder as well.")
    ] = False,
    write_versions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what the versions do as Markdown, after --versions if given."),
    ] = None,
) -> None:
    """Where Jittor differs from PyTorch: list the entries, show some, or run them.

    --versions ends with 0 when every version has been looked at: what they do differently is the result, no failure.
    """
    console = Console(highlight=False, soft_wrap=True)
    entries = _chosen(ids or [])
    if versions is not None or folder or again or write_versions:
        if ids or run or record_results or write:
            raise InputError(
                "--versions and --write-versions are about all entries: give no names, --check, --record, --write"
            )
        _compare_versions(console, versions, folder, again, write_versions)
        return
    if run or record_results:
        if record_results and ids:
            raise InputError("--record keeps the results of all entries; leave out the names")
        findings = _checked(entries)
        _print_findings(console, findings)
        if not all(findings) or not findings:
            raise typer.Exit(1 if findings else 2)
        if record_results:
            record(findings)
    if write:
        _write(console, write, document())
    elif ids and not run:
        for entry in entries:
            console.print(f"{entry.title}\n{entry.differs}\n\n{example(entry)}\n", markup=False)
    elif not run and not record_results:
        _print_list(console)


def _checked(entries: Sequence[Gotcha]) -> list[Finding]:
    try:
        return check(entries)
    except NotStarted as error:
        raise WorkerError(str(error)) from error


def _compare_versions(
    console: Console, versions: str | None, folder: Path | None, again: bool, write: Path | None
) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False)

    if versions is not None:
        try:
            records = measure_versions(places(versions, folder or FOLDER), list(CATALOGUE.values()), say, again=again)
        except NotStarted as error:
            raise WorkerError(str(error)) from error
        for line in summary_lines(records):
            say(line)
    elif folder or again:
        raise InputError("--folder and --again say how --versions measures; add it")
    if write:
        _write(console, write, versions_document())


def _write(console: Console, path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    console.print(f"{path}: {len(CATALOGUE)} entries", markup=False)


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
