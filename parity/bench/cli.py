"""``python -m parity bench``."""

from __future__ import annotations

import json as json_module
import os
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from detr_common.errors import InputError
from detr_common.options import check_model_options, training_args
from parity import usage
from parity.arguments import Json
from parity.bench.costs import parse_costs, prepare, print_costs
from parity.bench.figures import Job
from parity.bench.loads import parse_size
from parity.bench.measure import Case, measure
from parity.bench.sides import SIDES
from parity.bench.work_cli import SIDES as GROWING
from parity.bench.work_cli import check_request, measure_growth
from parity.output import PROGRAM, Output

OPTIONS = ("backbone", "transformer", "loss")


def bench_command(
    context: typer.Context,
    sizes: Annotated[str, typer.Option(help="Of the images, N or HxW, with commas between them.")] = "256",
    rounds: Annotated[int, typer.Option(min=1, help="How often each side is measured, in turns.")] = 5,
    batch_size: Annotated[int, typer.Option("--batch_size", min=1, help="Images of a step.")] = 2,
    threads: Annotated[int, typer.Option(min=0, help="Of each side; 0 for as many as processors.")] = 0,
    sides: Annotated[
        str | None,
        typer.Option(
            help=f"With commas between them, or none. Default: {','.join(SIDES)}; with --over {','.join(GROWING)}."
        ),
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[=N:N],...",
            help="Measure instead how a step grows with its arithmetic, over area, batch, queries or layers, "
            "each alone or with values, as batch=1:2:4.",
        ),
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(readable=False, metavar="FILE.svg", help="Draw what --over measured as well.")
    ] = None,
    also: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Measure other costs after the steps: capture, converter, loading, compilation (of the kernels of a "
            "first step), suite (the project's tests, minutes); all for all but suite. With --sides none no steps.",
        ),
    ] = None,
    coco_path: Annotated[
        Path | None,
        typer.Option("--coco_path", readable=False, metavar="DIR", help="Photographs of --also loading, else our own."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure a step of training, its parts, a forward pass and the memory of both packages, in turns.

    Beside them "plain", DETR in PyTorch as it is usually written. One after another, each in a process of its own.
    With --over the exit code is 1 where time or memory grew by a larger factor than the arithmetic.
    """
    if draw is not None and over is None:
        raise InputError("--draw: draws what --over measures; add --over area,batch,queries,layers")
    usage.check_excluding(("--over", over), ("--also", also))
    usage.check_excluding(("--over", over), ("--coco_path", coco_path))
    names = parse_costs(also)
    wanted = _sides(sides if sides is not None else ",".join(SIDES if over is None else GROWING))
    if not wanted and not names:
        raise InputError("--sides none: leaves nothing to measure; name costs with --also, as --also all")
    areas = [parse_size("--sizes", one) for one in sizes.split(",")]
    own = [option for parameter in context.command.params for option in parameter.opts]
    given = usage.model_args(context.args, f"{PROGRAM} bench", own)
    check_model_options(given)
    usage.check_device(given.device)
    args = training_args(**{**vars(given), "batch_size": batch_size})
    threads = threads or len(os.sched_getaffinity(0))
    errors = Console(stderr=True)
    if over is not None:
        request = check_request(args, over, areas, wanted, rounds, threads, draw)
        with errors.status("") as status:
            within = measure_growth(request, json, draw, status.update)
        raise typer.Exit(0 if within else 1)
    measurements = prepare(names, Job(given, args, areas[0], rounds, threads, coco_path))
    cases: list[Case] = []
    with errors.status("") as status:
        for size in areas if wanted else ():
            cases += measure(args, wanted, size, rounds, threads, status.update)
        costs = [one(status.update) for one in measurements]
    if json:
        report = {"threads": threads, "batch_size": batch_size, "backbone": args.backbone, "rounds": rounds}
        more = {"costs": {cost.name: cost.to_json() for cost in costs}} if costs else {}
        print(json_module.dumps({**report, "cases": [case.to_json() for case in cases], **more}))
        return
    out = Output()
    out.print(f"{args.backbone}, batch {batch_size}, {threads} threads, medians of {rounds} rounds in turns")
    for size in areas if cases else ():
        print_cases(out, [case for case in cases if case.size == size])
    if any(case.side == "plain" for case in cases):
        out.print("plain: DETR in PyTorch as it is usually written, without what makes detr_pt faster", soft_wrap=True)
    print_costs(out, costs)


def _sides(text: str) -> list[str]:
    names = [] if text == "none" else text.split(",")
    for name in names:
        if name not in SIDES:
            raise InputError(
                f"--sides: there is no {name!r}{usage.did_you_mean(name, SIDES)}; {', '.join(SIDES)} or none"
            )
    return list(dict.fromkeys(names))


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
    table.add_row("  fastest to slowest", *(f"{min(case.step):.3f}-{max(case.step):.3f}" for case in cases))
    row("forward, evaluation", [median(case.forward) for case in cases])
    for name in first.parts:
        row(f"  {name}", [case.parts.get(name, 0.0) for case in cases])
    row("peak memory, MiB", [case.peak for case in cases], 0)
    row("first step", [case.first for case in cases])
    out.print(table)
