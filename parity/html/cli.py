"""``python -m parity report``: the HTML page of a result that was written before."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from detr_common.errors import InputError
from parity import usage
from parity.html.result import read_result
from parity.html.writing import check_report, write_report
from parity.output import Output


def report_command(
    result: Annotated[
        Path, typer.Argument(readable=False, metavar="RESULT.json", help="What --json of a comparing command wrote.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("report.html"),
    runs: Annotated[
        Path | None, typer.Option(readable=False, metavar="DIR", help="Folder of parity train, for its curves.")
    ] = None,
    kills: Annotated[
        Path | None,
        typer.Option(readable=False, metavar="FILE", help="Table of planted faults, of parity mutants --run --write."),
    ] = None,
    command: Annotated[
        str, typer.Option(metavar="TEXT", help="The command that gave the result, to be shown with it.")
    ] = "",
) -> None:
    """Write a result as one HTML page that needs no network."""
    check_report("--out", out)
    usage.check_file("RESULT.json", result)
    usage.check_file("--kills", kills)
    data = read_result(result)
    try:
        write_report(data, out, command=command, runs=runs, kills=kills)
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # Of the right form, but with parts that no comparison writes.
        raise InputError(f"{result}: is damaged ({error!r}); write it again with --json") from None
    Output().print(f"{out}: {out.stat().st_size:,} bytes", markup=False, highlight=False, soft_wrap=True)


def own_command() -> str:
    """Return the command that runs now, for the page, which may be read on another machine."""
    return shlex.join(["python", "-m", "parity", *sys.argv[1:]])


def write_own(data: Mapping[str, Any], path: Path | None, quiet: bool) -> None:
    """Write the page of a command's result; None writes none.

    Args:
        data: the result.
        path: the page.
        quiet: say nothing, since standard output holds JSON.

    Raises:
        InputError: the page cannot be written.
    """
    if path is None:
        return
    write_report(data, path, command=own_command())
    if not quiet:
        Output().print(f"Report: {path}", markup=False, highlight=False, soft_wrap=True)
