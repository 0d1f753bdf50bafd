"""The process of the ops rung, which holds both frameworks: ``python -m parity.ops.process``.

One process serves here, as no single operation is changed by the other framework once the processor's treatment of
subnormal numbers is set before each. It reads one JSON object of settings from standard input and writes a JSON line
for each operation.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any, TextIO

import torch  # before Jittor, which brings a second OpenMP runtime

# isort: split
import detr_jt  # noqa: F401  readies Jittor, so it comes before Jittor itself

# isort: split
import jittor as jt
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from parity.ops import NAIVE, NAMES
from parity.ops.definitions import OPERATIONS
from parity.ops.operation import Array, Case, Function, Mismatch, Operation, Tally, compare


def run(operation: Operation, function: Function, examples: int, key: int | None) -> dict[str, Any]:
    """Look for a case on which a Jittor function differs from PyTorch's.

    Args:
        operation: the operation.
        function: its Jittor function, the correct or the naive one.
        examples: number of cases to try.
        key: seed; None for the same cases every time.

    Returns:
        The fields of ``parity.ops.session.Result``.
    """
    tally, last = Tally(), {"case": "", "complaint": ""}

    def check(case: Case) -> None:
        tally.cases += 1
        try:
            judge(operation, function, case, tally)
        except Mismatch as mismatch:
            last.update(case=str(case), complaint=str(mismatch))
            raise

    search = settings(
        max_examples=examples,
        derandomize=key is None,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )(given(operation.cases)(check))
    try:
        (search if key is None else seed(key)(search))()
    except Mismatch:
        pass
    except Flaky:
        last["complaint"] += " (not every time)"
    return {"cases": tally.cases, "worst64": tally.worst64, "worst32": tally.worst32, **last}


def judge(operation: Operation, function: Function, case: Case, tally: Tally) -> None:
    """Run one case in both frameworks and both float types, and compare.

    Raises:
        Mismatch: they do not agree, or Jittor refuses.
    """
    floats = any(array.dtype.kind == "f" for array in case.arrays.values())
    results: dict[tuple[str, str], list[Array]] = {}
    for dtype in ("float64", "float32") if floats else ("float64",):
        arrays = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in case.arrays.items()}
        torch.set_flush_denormal(False)
        tensors = {k: torch.from_numpy(v.copy()) for k, v in arrays.items()}
        results["torch", dtype] = [
            t.detach().numpy() for t in _several(operation.torch(*tensors.values(), **case.options))
        ]
        # As the first kernel leaves it in a process of Jittor's own.
        torch.set_flush_denormal(True)
        try:
            variables = {k: jt.array(v, dtype=str(v.dtype)) for k, v in arrays.items()}
            outputs = [v.numpy() for v in _several(function(*variables.values(), **case.options))]
        except (RuntimeError, TypeError, AttributeError, AssertionError, ValueError) as error:
            raise Mismatch(f"{dtype}: Jittor raises {type(error).__name__}: {str(error).strip()[:200]}") from error
        finally:
            torch.set_flush_denormal(False)
        results["jittor", dtype] = _without_axis(outputs, results["torch", dtype])
    magnitude = 0.0
    if operation.magnitude:
        magnitude = operation.magnitude(**{k: v.astype(np.float64) for k, v in case.arrays.items()}, **case.options)
    compare(results, magnitude, tally)


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _without_axis(outputs: list[Array], references: list[Array]) -> list[Array]:
    """Give Jittor's single numbers, of shape [1], the shape of PyTorch's, []."""
    if len(outputs) != len(references):
        return outputs
    return [v.reshape(()) if r.shape == () and v.shape == (1,) else v for v, r in zip(outputs, references, strict=True)]


def main() -> None:
    """Serve one request."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        if tuple(OPERATIONS) != NAMES:
            raise ValueError(f"definitions and names differ: {sorted(set(OPERATIONS) ^ set(NAMES))}")
        if tuple(name for name, operation in OPERATIONS.items() if operation.naive) != NAIVE:
            raise ValueError("definitions and names differ in which operations have a naive form")
        _serve(json.load(sys.stdin), answers)


def _serve(request: dict[str, Any], answers: TextIO) -> None:
    for name in request["names"]:
        operation = OPERATIONS[name]
        function = operation.naive if request["naive"] else operation.jittor
        assert function is not None, "only operations that have a naive form are asked for it"
        result = run(operation, function, request["examples"], request["seed"])
        answers.write(json.dumps({"name": name, "gotcha": operation.gotcha, **result}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
