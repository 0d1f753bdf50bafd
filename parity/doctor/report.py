"""Running every check and printing what came of it."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detr_common.errors import InputError
from detr_common.jittor_cache import clean_cache, remove_cache
from detr_common.jittor_ready import Readiness, decide
from parity.doctor import checks
from parity.doctor.checks import Check
from parity.doctor.diagnosis import Diagnosis, diagnose
from parity.doctor.imports import check_jittor, check_torch

_COLOURS = {"ok": "green", "warning": "yellow", "broken": "red"}


@dataclass(frozen=True)
class Examination:
    """All that the doctor found.

    Attributes:
        readiness: what was decided for Jittor.
        checks: every check, in the order in which it was made.
        diagnoses: the known failures recognised in what a framework printed.
    """

    readiness: Readiness
    checks: list[Check]
    diagnoses: list[Diagnosis]

    def __bool__(self) -> bool:
        """True where nothing is broken; warnings are allowed."""
        return all(check.status != "broken" for check in self.checks)

    def as_dict(self) -> dict[str, object]:
        """Return everything as a dict for JSON."""
        return {
            "ok": bool(self),
            "ready": {
                name: {"value": decision.value, "reason": decision.reason}
                for name, decision in self.readiness.decisions.items()
            },
            "environment": self.readiness.environment,
            "cache_path": str(self.readiness.cache_path) if self.readiness.cache_path else None,
            "checks": [check.as_dict() for check in self.checks],
            "diagnoses": [diagnosis.as_dict() for diagnosis in self.diagnoses],
        }


def examine(timeout: float, tell: Callable[[str], None] = lambda message: None) -> Examination:
    """Make every check.

    Args:
        timeout: seconds that the import of a framework may take.
        tell: called with a line before each step that takes seconds.

    Raises:
        InputError: Jittor's settings or the compiler's version cannot be read.
    """
    readiness = decide()
    found = [
        checks.check_python(),
        checks.check_headers(readiness),
        checks.check_compiler(),
        checks.check_make(),
        checks.check_openmp(),
        checks.check_numpy(readiness),
        checks.check_onednn(readiness),
        checks.check_cuda(readiness),
        checks.check_disk(readiness),
        checks.check_cache(readiness),
    ]
    tell("importing PyTorch")
    torch, torch_findings = check_torch(timeout)
    tell("importing Jittor (the first time it compiles for a few minutes)")
    jittor, jittor_findings = check_jittor(timeout)
    findings = {finding.name: finding for finding in torch_findings + jittor_findings}
    return Examination(readiness, [*found, torch, jittor], list(findings.values()))


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_examination(examination: Examination, console: Console) -> None:
    """Print what was decided, every check, and the commands that mend what is wrong."""
    decided = _table("Decisions for Jittor", "decided", "", "why")
    for name, decision in examination.readiness.decisions.items():
        decided.add_row(name, escape(decision.value), escape(decision.reason))
    console.print(decided)
    table = _table("Checks", "check", "", "found")
    for check in examination.checks:
        colour = _COLOURS[check.status]
        table.add_row(check.name, f"[{colour}]{check.status}[/{colour}]", escape(check.found))
    console.print(table)
    print_diagnoses(examination.diagnoses, console)
    for check in examination.checks:
        if check.mend:
            console.print(f"{check.name} ({check.status}). Mend it with:", markup=False)
            console.print(f"    {check.mend}", markup=False, soft_wrap=True, highlight=False)
    broken = sum(check.status == "broken" for check in examination.checks)
    warnings = sum(check.status == "warning" for check in examination.checks)
    console.print(f"{len(examination.checks)} checks: {broken} broken, {warnings} with a warning.", highlight=False)


def print_diagnoses(diagnoses: list[Diagnosis], console: Console) -> None:
    """Print each known failure with its evidence and the commands that mend it."""
    for diagnosis in diagnoses:
        console.print(f"{diagnosis.name}: {diagnosis.cause}", markup=False, soft_wrap=True, highlight=False)
        console.print(f"    seen: {diagnosis.evidence}", markup=False, soft_wrap=True, highlight=False)
        for index, command in enumerate(diagnosis.commands):
            lead = "mend" if index == 0 else "  or"
            console.print(f"    {lead}: {command}", markup=False, soft_wrap=True, highlight=False)


def read_log(path: str, *, json: bool, console: Console) -> int:
    """Name the known failures in a saved log.

    Args:
        path: the file; "-" is standard input.
        json: print JSON.
        console: where to print.

    Returns:
        1 where a failure was recognised, else 0.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: the log cannot be read ({error.strerror})") from None
    found = diagnose(text)
    if json:
        print(json_module.dumps({"diagnoses": [diagnosis.as_dict() for diagnosis in found]}, indent=2))
    elif found:
        print_diagnoses(found, console)
    else:
        console.print(f"{path}: no known failure in {len(text.splitlines())} lines.", highlight=False, soft_wrap=True)
    return 1 if found else 0


def clean(*, everything: bool, console: Console) -> int:
    """Remove what is broken in the kernel cache, or the whole of it, and print what was removed.

    Raises:
        InputError: the cache's place is not known, another process is at work on it, or a file cannot be removed.
    """
    path = decide().cache_path
    if path is None:
        raise InputError("the place of Jittor's kernel cache is not known: Jittor or g++ is missing")
    removed = ([path] if remove_cache(path) else []) if everything else clean_cache(path)
    for file in removed:
        console.print(f"removed {file}", markup=False, soft_wrap=True, highlight=False)
    if not removed:
        console.print(f"nothing to remove in {path}", markup=False, soft_wrap=True, highlight=False)
    return 0
