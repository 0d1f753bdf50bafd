"""Runs the ops rung in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from detr_common.errors import InputError
from parity.ops import NAIVE, NAMES
from parity.process import WorkerError


@dataclass(frozen=True)
class Result:
    """What was found out about an operation.

    Attributes:
        name: of the operation.
        gotcha: the entry of the catalogue that tells why its naive form is wrong; empty if there is none.
        cases: number of cases compared.
        worst64: largest float64 error among those that agree, as a fraction of the scale.
        worst32: largest ratio of Jittor's float32 error to PyTorch's own (or to a few ulp, where that is more).
        complaint: how the frameworks differ; empty where they agree.
        case: the smallest inputs found on which they differ.
    """

    name: str
    gotcha: str
    cases: int
    worst64: float
    worst32: float
    complaint: str
    case: str

    def __bool__(self) -> bool:
        return self.cases > 0 and not self.complaint


@dataclass(frozen=True)
class OpsVerdict:
    """The ops rung; true if something was compared and all of it agrees.

    Attributes:
        results: one for each operation.
        rung: its name.
    """

    results: tuple[Result, ...]
    rung: str = "ops"

    def __bool__(self) -> bool:
        return self.compared > 0 and all(self.results)

    @property
    def compared(self) -> int:
        """Number of cases compared."""
        return sum(result.cases for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` writes."""
        return {
            "rung": self.rung,
            "passed": bool(self),
            "compared": self.compared,
            "operations": [asdict(result) | {"passed": bool(result)} for result in self.results],
        }


def select(part: str) -> tuple[str, ...]:
    """Return the names that hold ``part``.

    Raises:
        InputError: there is none.
    """
    names = tuple(name for name in NAMES if part in name)
    if not names:
        raise InputError(f"-k {part}: no such operation; there are {', '.join(NAMES)}")
    return names


def run_ops(
    names: Sequence[str] = NAMES,
    examples: int = 50,
    seed: int | None = None,
    naive: bool = False,
    progress: Callable[[Result], None] = lambda _: None,
) -> OpsVerdict:
    """Compare operations on generated cases.

    Args:
        names: operations, of ``parity.ops.NAMES``.
        examples: cases for each operation.
        seed: of the cases; None for the same ones every time.
        naive: run the naive Jittor forms in place of the correct ones; operations without one are left out.
        progress: called with each result.

    Raises:
        InputError: Hypothesis is not installed, no such operation, or none of them has a naive form.
        WorkerError: the process ended before it was done.
    """
    if importlib.util.find_spec("hypothesis") is None:
        raise InputError("the ops rung needs Hypothesis; install it with: pip install 'hypothesis>=6.100'")
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise InputError(f"no such operation: {unknown[0]!r}; there are {', '.join(NAMES)}")
    names = [name for name in names if name in NAIVE or not naive]
    if naive and not names:
        raise InputError(f"none of these operations has a naive form; those that have are {', '.join(NAIVE)}")
    request = {"names": names, "examples": examples, "seed": seed, "naive": naive}
    command = [sys.executable, "-m", "parity.ops.process"]
    results = []
    pipe = subprocess.PIPE
    # An interrupt is for this process to answer; Jittor ends at once with messages of its own.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps(request))
            process.stdin.close()
            for line in process.stdout:
                results.append(Result(**json.loads(line)))
                progress(results[-1])
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        done = results[-1].name if results else "any operation"
        raise WorkerError(f"ops: the process ended with code {process.returncode} after {done}; see its message above")
    return OpsVerdict(tuple(results))
