"""``python -m parity doctor``: what is in place on this machine, what is not, and the command that mends it."""

from __future__ import annotations

import json as json_module
import sys
from typing import Annotated

import typer
from rich.console import Console

from detr_common.errors import InputError
from parity.doctor.diagnosis import Diagnosis, diagnose
from parity.doctor.report import Examination, clean, examine, print_examination, read_log

__all__ = ["Diagnosis", "Examination", "diagnose", "doctor", "doctor_command", "examine"]


def doctor(*, json: bool = False, timeout: float = 900.0) -> int:
    """Make every check and print what was found.

    Args:
        json: print one JSON object and nothing else.
        timeout: seconds that the import of a framework may take.

    Returns:
        0 where all is fine, 1 where something is broken.

    Raises:
        InputError: Jittor's settings or the compiler's version cannot be read.
    """
    errors = Console(stderr=True)
    with errors.status("looking") as status:
        examination = examine(timeout, lambda message: status.update(message))
    if json:
        print(json_module.dumps(examination.as_dict(), indent=2))
    else:
        print_examination(examination, Console())
    return 0 if examination else 1


def doctor_command(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    log: Annotated[
        str | None,
        typer.Option("--log", metavar="FILE", help="Name the known failures in a saved log; - is standard input."),
    ] = None,
    clean_cache: Annotated[
        bool, typer.Option("--clean-cache", help="Remove the broken files of Jittor's kernel cache.")
    ] = False,
    clean_all: Annotated[
        bool, typer.Option("--clean-all", help="Remove this configuration's whole kernel cache.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, metavar="SECONDS", help="How long an import may take.")
    ] = 900.0,
) -> None:
    """Say what was decided for Jittor, what is missing on this machine, and the command that mends it.

    Exit code: 0 all is fine, 1 something is broken, 2 wrong usage.
    """
    try:
        if (log is not None) + clean_cache + clean_all > 1:
            raise InputError("--log, --clean-cache and --clean-all exclude each other; give one of them")
        if log is not None:
            code = read_log(log, json=json, console=Console())
        elif clean_cache or clean_all:
            code = clean(everything=clean_all, console=Console())
        else:
            code = doctor(json=json, timeout=timeout)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    raise typer.Exit(code)
