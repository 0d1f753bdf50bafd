"""Writes the report of a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detr_common.errors import InputError
from parity.writing import check_destination, replace_file


def check_report(option: str, path: Path | None) -> None:
    """Refuse a file that cannot be written, before anything is computed; None is none.

    Raises:
        InputError: names option and path.
    """
    if path is None:
        return
    _load(option)
    check_destination(option, path)


def write_report(
    verdict: Mapping[str, Any], path: Path, *, command: str = "", runs: Path | None = None, kills: Path | None = None
) -> None:
    """Write the report of a verdict as one HTML file, at once: a reader sees the old file or the whole new one.

    Args:
        verdict: what ``LadderVerdict.as_dict()`` gives, or a single rung's, or the same read from JSON.
        path: the file; one that is there is replaced.
        command: that gave the verdict, as one types it.
        runs: folder of ``parity train``, for the curves of whole runs.
        kills: table of planted faults, JSON or Markdown, of ``parity mutants --run --write``.

    Raises:
        InputError: the file cannot be written, or what was given cannot be read.
    """
    check_report("report", path)
    from parity.html.kills import read_kills
    from parity.html.page import render
    from parity.html.result import parse
    from parity.html.runs import read_runs

    training = read_runs(runs) if runs else None
    table = read_kills(kills) if kills else None
    page = render(parse(verdict), command, training, table)
    replace_file(path, page.encode("utf-8", "backslashreplace"))


def _load(option: str) -> None:
    """Import what draws the page: only for who wants one, and before hours of comparing that it would be wanted for."""
    try:
        import parity.html.page  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "jinja2":
            raise
        raise InputError(f"{option}: needs Jinja; install it with: pip install 'jinja2>=3.1'") from None
