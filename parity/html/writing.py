"""Writes the report of a verdict."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detr_common.errors import InputError


def check_report(option: str, path: Path | None) -> None:
    """Refuse a file that cannot be written, before anything is computed; None is none.

    Raises:
        InputError: names option and path.
    """
    if path is None:
        return
    _load(option)
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{option} {path}: you may not write to {path.parent}; name another folder")


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
    _replace(path, render(parse(verdict), command, training, table))


def _load(option: str) -> None:
    """Import what draws the page: only for who wants one, and before hours of comparing that it would be wanted for."""
    try:
        import parity.html.page  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "jinja2":
            raise
        raise InputError(f"{option}: needs Jinja; install it with: pip install 'jinja2>=3.1'") from None


def _replace(path: Path, text: str) -> None:
    part = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="backslashreplace", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            part = file.name
            file.write(text)
        # A temporary file is its owner's alone, while a report is as readable as any new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        if part and os.path.exists(part):
            os.unlink(part)
