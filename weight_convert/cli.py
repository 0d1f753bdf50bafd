"""The command line: python -m weight_convert SRC DST."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from detr_common.errors import InputError
from weight_convert import download, zoo
from weight_convert.convert import Summary, check_destination, convert
from weight_convert.measure import describe as describe_figures
from weight_convert.measure import measure

# typer brings its own copy of click in newer versions and uses the package in older ones; UsageError of either:
_USAGE_ERROR: Any = typer.BadParameter.__bases__[0]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Options(TypedDict):
    """What the user asked of `convert`."""

    force: bool
    verify: bool
    weights_only: bool


@app.command()
def main(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A .pth, .pkl or .safetensors file, or a name of the zoo.")
    ],
    destination: Annotated[
        Path | None, typer.Argument(metavar="DST", help="Its suffix decides the format.", show_default=False)
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read DST back and compare it bit by bit.")] = False,
    bench: Annotated[
        bool, typer.Option("--bench", help="Time it beside copying the file; measure its memory.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing DST.")] = False,
    weights_only: Annotated[
        bool, typer.Option("--weights-only", help="Leave out optimizer, epoch and all else beside the weights.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing unless something is wrong.")] = False,
) -> None:
    """Convert a checkpoint between PyTorch (.pth), Jittor (.pkl) and safetensors. Nothing in the file is executed.

    `python -m weight_convert zoo` lists published checkpoints; `python -m weight_convert detr-r50 detr.pkl` fetches one
    and converts it. Downloads are kept in ~/.cache/detr-parity, or in the folder that DETR_PARITY_CACHE names.

    Exit code 0: done; 1: --verify found a difference; 2: bad input, with one line that says what is wrong.
    """
    if destination is None:
        if str(source) != "zoo":
            print("error: DST is missing: python -m weight_convert SRC DST, or zoo alone for a list", file=sys.stderr)
            raise typer.Exit(2)
        print(zoo.describe())
        return
    try:
        source = _fetched(source, destination, force, quiet)
        options = Options(force=force, verify=verify, weights_only=weights_only)
        summary = _with_progress(source, destination, options, quiet)
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


def _fetched(source: Path, destination: Path, force: bool, quiet: bool) -> Path:
    """The source itself if there is such a file, else the zoo's file of that name."""
    entry = None if source.exists() else zoo.find(str(source))
    if entry is None:
        return source
    check_destination(source, destination, force)
    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal:
        return download.fetch(entry)
    columns = (*Progress.get_default_columns()[:3], DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"fetching {entry.file}")
        return download.fetch(entry, lambda done, total: bar.update(task, completed=done, total=total))


def _with_progress(source: Path, destination: Path, options: Options, quiet: bool) -> Summary:
    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal:
        return convert(source, destination, **options)
    with console.status("") as status:
        return convert(source, destination, **options, progress=status.update)


def describe(summary: Summary) -> str:
    """The summary in a line each for the file, what it holds, what it does not, and the verification."""
    dtypes = ", ".join(f"{count} {name}" for name, count in summary.dtypes.items())
    lines = [
        f"{summary.destination}: {summary.tensors} tensors ({dtypes}), {summary.bytes / 1e6:.1f} MB, "
        f"sha256 {summary.sha256[:16]}, {summary.seconds:.2f} s",
        f"holds {summary.contents}",
    ]
    left_out = ", ".join(summary.left_out)
    if left_out:
        lines.append(f"left out: {left_out}")
    lines += [f"note: {change}" for change in summary.changes]
    if summary.verified:
        lines.append(
            f"verified: the weights are bitwise equal to those of {summary.source}, which holds {left_out} too"
            if left_out
            else f"verified: bitwise equal to {summary.source}"
        )
    return "\n".join(lines)


def run(arguments: list[str] | None = None) -> int:
    """Run the command; every error is one line on stderr.

    Args:
        arguments: without the program's name; ``sys.argv`` if None.

    Returns:
        The exit code.
    """
    try:
        code = app(arguments, prog_name="python -m weight_convert", standalone_mode=False)
    except _USAGE_ERROR as error:
        print(
            f"error: {error.format_message().rstrip('.')} (python -m weight_convert --help shows the usage)",
            file=sys.stderr,
        )
        return 2
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    return code if isinstance(code, int) else 0
