"""A process that runs lines of one framework: ``python -m parity.gotchas.runner torch|jittor|none``.

It reads a JSON list of ``{"inputs", "line", "seed"}`` from standard input, says that it is ready and answers each with
one JSON line on the descriptor that was standard output; whatever the lines print goes to standard error. With
``none`` the lines import what they need.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from detr_common import jittor_convolution, jittor_headers
from detr_common.jittor_ready import ready
from parity.gotchas.values import plain

Namespace = dict[str, Any]
READY = "ready"


def _torch() -> tuple[Namespace, Callable[[Any], Any], Callable[[int], object]]:
    import torch
    from torch import nn
    from torch.nn import functional

    return {"torch": torch, "nn": nn, "F": functional}, torch.from_numpy, torch.manual_seed


def _jittor() -> tuple[Namespace, Callable[[Any], Any], Callable[[int], object]]:
    import jittor as jt
    from jittor import nn

    jittor_headers.use(jt)
    jittor_convolution.use(jt)
    return {"jt": jt, "nn": nn}, lambda array: jt.array(array, dtype=str(array.dtype)), jt.set_global_seed


def _neither() -> tuple[Namespace, Callable[[Any], Any], Callable[[int], object]]:
    return {}, lambda array: array, lambda _: None


FRAMEWORKS = {"torch": _torch, "jittor": _jittor, "none": _neither}


def evaluate(source: str, namespace: Namespace) -> Any:
    """Run a source and return the value of its last expression.

    Raises:
        SyntaxError: the source does not end with an expression.
    """
    body = ast.parse(source).body
    last = body.pop()
    if not isinstance(last, ast.Expr):
        raise SyntaxError(f"does not end with an expression: {source!r}")
    exec(compile(ast.Module(body, []), "<line>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<line>", "eval"), namespace)


def main(framework: str) -> None:
    """Answer every line of standard input's list."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        warnings.simplefilter("ignore")
        ready()
        names, tensor, seed = FRAMEWORKS[framework]()
        answers.write(READY + "\n")
        answers.flush()
        for job in json.load(sys.stdin):
            _answer(job, {"np": np, **names}, tensor, seed, answers)


def _answer(
    job: dict[str, Any],
    namespace: Namespace,
    tensor: Callable[[Any], Any],
    seed: Callable[[int], object],
    answers: TextIO,
) -> None:
    given: Namespace = {"np": np}
    exec(job["inputs"], given)
    namespace |= {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items() if k != "__builtins__"}
    seed(job["seed"])
    try:
        with contextlib.redirect_stdout(sys.stderr):
            answer = {"kind": "value", "value": plain(evaluate(job["line"], namespace))}
    except Exception as error:
        # Whatever a line raises is what it gives; a mistake in the line itself shows in the comparison.
        text = next((part for part in str(error).splitlines() if part.strip()), "")
        answer = {"kind": "raised", "detail": f"{type(error).__name__}: {text.strip()}"}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
