"""The command line: python -m weight_convert SRC DST."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import click
import typer
from rich.console import Console

from detr_common.errors import InputError
from weight_convert.convert import Summary, convert
from weight_convert.measure import describe as describe_figures
from weight_convert.measure import measure

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A .pth, .pkl or .safetensors file.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Its suffix decides the format.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read DST back and compare it bit by bit.")] = False,
    bench: Annotated[
        bool, typer.Option("--bench", help="Time it beside copying the file; measure its memory.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing DST.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing unless something is wrong.")] = False,
) -> None:
    """Convert a checkpoint between PyTorch (.pth), Jittor (.pkl) and safetensors. Nothing in the file is executed.

    Exit code 0: done; 1: --verify found a difference; 2: bad input, with one line that says what is wrong.
    """
    try:
        summary = _with_progress(source, destination, force, verify, quiet)
        figures = measure(source, destination) if bench else None
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    if as_json:
        extra = {"bench": dataclasses.asdict(figures)} if figures else {}
        print(json.dumps({**dataclasses.asdict(summary), "verified": summary.verified, **extra}))
    elif not quiet:
        print(describe(summary))
        if figures:
            print(describe_figures(figures))
    if summary.differences:
        shown = ", ".join(summary.differences[:5])
        print(f"error: {destination}: {len(summary.differences)} places differ from {source}: {shown}", file=sys.stderr)
        raise typer.Exit(1)


def _with_progress(source: Path, destination: Path, force: bool, verify: bool, quiet: bool) -> Summary:
    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal:
        return convert(source, destination, force=force, verify=verify)
    with console.status("") as status:
        return convert(source, destination, force=force, verify=verify, progress=status.update)


def describe(summary: Summary) -> str:
    """The summary in one or two lines."""
    dtypes = ", ".join(f"{count} {name}" for name, count in summary.dtypes.items())
    text = (
        f"{summary.destination}: {summary.tensors} tensors ({dtypes}), {summary.bytes / 1e6:.1f} MB, "
        f"sha256 {summary.sha256[:16]}, {summary.seconds:.2f} s"
    )
    return text + (f"\nverified: bitwise equal to {summary.source}" if summary.verified else "")


def run(arguments: list[str] | None = None) -> int:
    """Run the command; every error is one line on stderr.

    Args:
        arguments: without the program's name; ``sys.argv`` if None.

    Returns:
        The exit code.
    """
    try:
        code = app(arguments, prog_name="python -m weight_convert", standalone_mode=False)
    except click.UsageError as error:
        print(f"error: {error.format_message()} (python -m weight_convert --help shows the usage)", file=sys.stderr)
        return 2
    except (click.Abort, KeyboardInterrupt):
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    return code if isinstance(code, int) else 0
