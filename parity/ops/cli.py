"""``python -m parity ops``."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from detr_common.errors import InputError
from parity.gotchas import CATALOGUE
from parity.ops.session import OpsVerdict, Result, run_ops, select


def ops_command(
    examples: Annotated[int, typer.Option(min=1, help="Cases for each operation.")] = 50,
    seed: Annotated[int | None, typer.Option(help="Seed of the cases. Default: the same ones every time.")] = None,
    part: Annotated[str, typer.Option("-k", metavar="NAME", help="Only operations whose name holds this.")] = "",
    naive: Annotated[bool, typer.Option("--naive", help="Run the forms that are known to be wrong.")] = False,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the results as JSON.")] = None,
) -> None:
    """Compare single operations on generated inputs: ties, zeros, empty and degenerate ones included."""
    names = select(part)
    if json and not json.parent.is_dir():
        raise InputError(f"--json {json}: there is no folder {json.parent}")
    console = Console()
    status = Console(stderr=True)
    with status.status("") as line:
        verdict = run_ops(names, examples, seed, naive, lambda result: line.update(f"{result.name}: {result.cases}"))
    if json:
        json.write_text(json_module.dumps(verdict.as_dict(), indent=1) + "\n", encoding="utf-8")
    print_ops(verdict, console)
    raise typer.Exit(2 if verdict.compared == 0 else 0 if verdict else 1)


def print_ops(verdict: OpsVerdict, console: Console) -> None:
    """Print a table of all operations, then each disagreement."""
    agree = sum(map(bool, verdict.results))
    table = Table(box=None, pad_edge=False)
    table.add_column("operation")
    for title in ("cases", "float64", "float32"):
        table.add_column(title, justify="right")
    table.add_column("")
    for result in verdict.results:
        figures = (str(result.cases), f"{result.worst64:.1e}", f"{result.worst32:.2f}")
        table.add_row(result.name, *figures, "agrees" if result else "[red]differs[/]")
    console.print(table)
    for result in verdict.results:
        if not result:
            _print_difference(result, console)
    console.print(
        f"{agree} of {len(verdict.results)} operations agree on {verdict.compared} cases. float64: worst error of the "
        "scale, at most 1e-12; float32: worst error over PyTorch's own, at most 2.",
    )


def _print_difference(result: Result, console: Console) -> None:
    console.print(f"\n[bold]{result.name}[/]: ", end="")
    console.print(result.complaint or "nothing was compared", markup=False, soft_wrap=True)
    console.print(f"  {result.case}", markup=False, soft_wrap=True)
    if result.gotcha:
        console.print(f"  see: python -m parity gotchas {result.gotcha}  ({CATALOGUE[result.gotcha].title})")
