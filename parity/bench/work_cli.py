"""``--over`` and ``--draw`` of ``parity bench``."""

from __future__ import annotations

import argparse
import json as json_module
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from detr_common.errors import InputError
from parity.bench.drawing import check_drawing, draw
from parity.bench.loads import Load, Variable, parse_over
from parity.bench.work import ALLOWANCE, Series, measure_series
from parity.output import Output, plain

SIDES = ("detr_pt", "detr_jt")


@dataclass(frozen=True)
class Request:
    """What is measured, and how.

    Attributes:
        args: options of the detector and its training.
        base: the load of what does not grow.
        variables: what grows, one after another.
        sides: of ``parity.bench.sides.SIDES``.
        rounds: how often each side takes a step, in turns.
        threads: of each side.
    """

    args: argparse.Namespace
    base: Load
    variables: Sequence[Variable]
    sides: Sequence[str]
    rounds: int
    threads: int

    def to_json(self) -> dict[str, Any]:
        """Return all but the options of the detector, of which only the backbone is told."""
        return {
            "threads": self.threads,
            "backbone": self.args.backbone,
            "rounds": self.rounds,
            "base": asdict(self.base),
            "allowance": ALLOWANCE,
        }


def check_request(
    args: argparse.Namespace,
    over: str,
    sizes: Sequence[tuple[int, int]],
    sides: Sequence[str],
    rounds: int,
    threads: int,
    drawing: Path | None,
) -> Request:
    """Return what is to be measured, once all that can be known before is right.

    Args:
        args: options of the detector and its training.
        over: see ``parity.bench.loads.parse_over``.
        sizes: of the images; one, since it is the base from which something else grows.
        sides: see ``Request``, as for the next two.
        rounds: as said.
        threads: as said.
        drawing: the file that will be drawn, if any.

    Raises:
        InputError: an option or the file cannot be used.
    """
    check_drawing("--draw", drawing)
    if len(sizes) != 1:
        raise InputError("--over: starts from one size; give one with --sizes, and the others as --over area=128:256")
    if args.device == "cuda":
        raise InputError("--over: measures the memory of the processor, not the GPU's; leave --device cuda out")
    base = Load(sizes[0], args.batch_size, args.num_queries, args.enc_layers, args.dec_layers)
    return Request(args, base, parse_over(over, base), sides, rounds, threads)


def measure_growth(request: Request, json: bool, drawing: Path | None, progress: Callable[[str], None]) -> bool:
    """Measure, print and draw; return whether every cost grew by no more than the arithmetic.

    Args:
        request: of ``check_request``.
        json: print one JSON object instead of tables.
        drawing: the SVG file, if any; written after all is printed, so that a full disk loses no figure.
        progress: called with what is done next.

    Raises:
        InputError: the drawing cannot be written.
        WorkerError: a side failed.
    """
    out = Output()
    if not json:
        print_base(out, request)
    found: list[Series] = []
    for series in measure_series(
        request.args, request.variables, request.sides, request.rounds, request.threads, progress
    ):
        found.append(series)
        if not json:
            print_series(out, series)
    within = not any(growth.beyond() for series in found for growth in series.growths())
    if json:
        report = {**request.to_json(), "series": [series.to_json() for series in found], "within": within}
        out.out(json_module.dumps(plain(report), allow_nan=False), highlight=False)
    else:
        print_growths(out, found)
    if drawing is not None:
        draw(found, drawing)
        if not json:
            out.print(f"Drawing: {drawing}", markup=False, highlight=False, soft_wrap=True)
    return within


def print_base(out: Console, request: Request) -> None:
    """Print what is measured and what stays as it is."""
    base = request.base
    size = "x".join(map(str, base.size))
    out.print(
        f"{request.args.backbone}, {request.threads} threads, medians of {request.rounds} rounds in turns. "
        f"What does not grow: images of {size}, batch {base.batch_size}, {base.num_queries} queries, "
        f"{base.enc_layers} layers of the encoder and {base.dec_layers} of the decoder.",
        highlight=False,
    )


def print_series(out: Console, series: Series) -> None:
    """Print arithmetic, time and memory at each value of a variable."""
    table = Table(title=series.variable.name, title_justify="left", box=None)
    table.add_column("")
    table.add_column("10^9 operations", justify="right")
    sides = list(series.costs[0].taken)
    for unit in ("s", "MiB"):
        for side in sides:
            table.add_column(f"{side}, {unit}", justify="right")
    for label, cost in zip(series.variable.labels(), series.costs, strict=True):
        seconds = [f"{cost.taken[side].seconds:.3f}" for side in sides]
        memory = [f"{cost.taken[side].memory:.0f}" for side in sides]
        table.add_row(label, f"{cost.operations / 1e9:.2f}", *seconds, *memory)
    out.print(table, highlight=False)


def print_growths(out: Console, found: Sequence[Series]) -> None:
    """Print by what factors everything grew, what is judged, and by what."""
    table = Table(title="growth from the smallest to the largest value", title_justify="left", box=None)
    for name in ("", "side", "arithmetic", "time", "memory", "within"):
        table.add_column(name, justify="left" if name in ("", "side", "within") else "right")
    for series in found:
        labels = series.variable.labels()
        for one in series.growths():
            factors = (f"{factor:.2f}" for factor in (one.arithmetic, one.time, one.memory))
            verdict = f"no: {' and '.join(one.beyond())}" if one.beyond() else "yes"
            table.add_row(f"{one.variable} {labels[0]} to {labels[-1]}", one.side, *factors, verdict)
    out.print(table, highlight=False)
    out.print(
        f"Within: neither time nor memory grew by more than {ALLOWANCE} times the factor of the arithmetic. "
        "Arithmetic: additions and multiplications of the matrix products and convolutions of a step of detr_pt. "
        "Time: a whole step. Memory: the peak of the resident memory, less what was resident before the first step.",
        highlight=False,
    )
