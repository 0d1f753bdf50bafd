"""``python -m parity bench``."""

from __future__ import annotations

import json as json_module
import os
import re
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from detr_common.errors import InputError
from detr_common.options import check_model_options, training_args
from parity import usage
from parity.arguments import Json
from parity.bench.measure import Case, measure
from parity.bench.sides import SIDES
from parity.output import PROGRAM, Output

OPTIONS = ("backbone", "transformer", "loss")


def bench_command(
    context: typer.Context,
    sizes: Annotated[str, typer.Option(help="Of the images, N or HxW, with commas between them.")] = "256",
    rounds: Annotated[int, typer.Option(min=1, help="How often each side is measured, in turns.")] = 5,
    batch_size: Annotated[int, typer.Option("--batch_size", min=1, help="Images of a step.")] = 2,
    threads: Annotated[int, typer.Option(min=0, help="Of each side; 0 for as many as processors.")] = 0,
    sides: Annotated[str, typer.Option(help="What is measured, with commas between them.")] = ",".join(SIDES),
    json: Json = False,
) -> None:
    """Measure a step of training, its parts, a forward pass and the memory of both packages, in turns.

    Beside them "plain", DETR in PyTorch as it is usually written. One after another, each in a process of its own.
    """
    wanted = _sides(sides)
    areas = [_size(one) for one in sizes.split(",")]
    own = [option for parameter in context.command.params for option in parameter.opts]
    given = usage.model_args(context.args, f"{PROGRAM} bench", own)
    check_model_options(given)
    usage.check_device(given.device)
    args = training_args(**{**vars(given), "batch_size": batch_size})
    threads = threads or len(os.sched_getaffinity(0))
    errors = Console(stderr=True)
    cases: list[Case] = []
    with errors.status("") as status:
        for size in areas:
            cases += measure(args, wanted, size, rounds, threads, status.update)
    if json:
        report = {"threads": threads, "batch_size": batch_size, "backbone": args.backbone, "rounds": rounds}
        print(json_module.dumps({**report, "cases": [case.to_json() for case in cases]}))
        return
    out = Output()
    out.print(f"{args.backbone}, batch {batch_size}, {threads} threads, medians of {rounds} rounds in turns")
    for size in areas:
        print_cases(out, [case for case in cases if case.size == size])


def _sides(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in SIDES:
            raise InputError(f"--sides: there is no {name!r}{usage.did_you_mean(name, SIDES)}; {', '.join(SIDES)}")
    return list(dict.fromkeys(names))


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip())
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(height, width) < 32:
        raise InputError(f"--sizes {text}: a size is N or HxW, at least 32 pixels each, as 512 or 800x1066")
    return height, width


def print_cases(out: Console, cases: list[Case]) -> None:
    """Print the cases of one size beside each other, and the ratios of the others to the first."""
    first = cases[0]
    table = Table(title=f"{first.size[0]}x{first.size[1]}, seconds", title_justify="left", box=None)
    table.add_column("")
    for case in cases:
        table.add_column(case.side, justify="right")
    for case in cases[1:]:
        table.add_column(f"{case.side[-2:] if case.side != 'plain' else case.side}/{first.side}", justify="right")

    def row(name: str, values: list[float], digits: int = 3) -> None:
        ratios = [f"{value / values[0]:.2f}" if values[0] > 0 else "" for value in values[1:]]
        table.add_row(name, *(f"{value:.{digits}f}" for value in values), *ratios)

    row("step of training", [median(case.step) for case in cases])
    row("forward, evaluation", [median(case.forward) for case in cases])
    for name in first.parts:
        row(f"  {name}", [case.parts.get(name, 0.0) for case in cases])
    row("peak memory, MiB", [case.peak for case in cases], 0)
    row("first step", [case.first for case in cases])
    out.print(table)
