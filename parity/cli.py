"""The command line: ``python -m parity SUBCOMMAND``.

Exit code 0 is a pass, 1 a mismatch, 2 wrong usage, unusable input, or nothing compared.
"""

from __future__ import annotations

import argparse
import json as json_module
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from detr_common.errors import InputError
from detr_common.options import get_args_parser
from parity import demo
from parity.batch import photograph_batch
from parity.client import WorkerError
from parity.doctor import doctor_command
from parity.gotchas.cli import gotchas_command
from parity.layers import LayersJob, compare_layers
from parity.mutants import CATALOGUE
from parity.overhead import measure_overhead
from parity.report import print_layers
from parity.verdict import LayersVerdict

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show how far a Jittor port is from its PyTorch model.",
)
app.command("doctor")(doctor_command)
app.command("gotchas")(gotchas_command)

MODEL_OPTIONS = "Model options as of the detector itself: " + " ".join(
    f"--{action.dest}" if action.dest != "aux_loss" else "--no_aux_loss" for action in get_args_parser()._actions
)


@app.command(
    "layers",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=MODEL_OPTIONS,
)
def layers_command(
    context: typer.Context,
    image: Annotated[
        list[Path] | None, typer.Option(help="A photograph; repeat for a batch. Default: two of ours.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint of both models. Default: a seeded one.")] = None,
    jittor_weights: Annotated[Path | None, typer.Option(help="Checkpoint of the Jittor model, if another.")] = None,
    size: Annotated[int, typer.Option(min=32, help="Pixels of the photographs' shorter side.")] = 256,
    show: Annotated[str | None, typer.Option(metavar="MODULE", help="List every tensor of a module.")] = None,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the traces in a new folder.")] = None,
    mutant: Annotated[str, typer.Option(metavar="NAME", help="Plant a known fault in the Jittor model.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    bench: Annotated[bool, typer.Option("--bench", help="Measure instead what capture and comparison cost.")] = False,
) -> None:
    """Compare every module's output, in float64 and in float32. Takes the options of the model as well."""
    args = _model_args(context)
    with tempfile.TemporaryDirectory() as scratch:
        if mutant and mutant not in CATALOGUE:
            raise InputError(f"no such fault: {mutant}; choose one of {', '.join(CATALOGUE)}")
        _check_that_it_shows(mutant, args)
        images = photograph_batch(image or [], size)
        weights = weights or demo.write_seeded_checkpoint(args, Path(scratch) / "seeded.pkl")
        job = LayersJob(args, weights, images, jittor_weights, mutant, keep=keep)
        if bench:
            overhead = measure_overhead(job)
            print(overhead)
            raise typer.Exit(0 if overhead.unchanged else 1)
        verdict = run_layers(job)
    if json:
        print(json_module.dumps(verdict.as_dict(), indent=1))
    else:
        _print(verdict, show)
    raise typer.Exit(exit_code(verdict))


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(help="Folder for the two checkpoints.")] = Path("out/demo"),
    size: Annotated[int, typer.Option(min=32, help="Pixels of the photographs' shorter side.")] = 256,
) -> None:
    """Convert a DETR-R50 checkpoint and compare both detectors layer by layer on two photographs."""
    console = Console()
    verdict = demo.run(out, size, console, run_layers)
    raise typer.Exit(exit_code(verdict))


def _check_that_it_shows(mutant: str, args: argparse.Namespace) -> None:
    """Refuse a fault that changes nothing in this model, since its pass would say nothing."""
    options = CATALOGUE[mutant].options if mutant else {}
    for name, value in options.items():
        if name in ("dilation", "position_embedding") and getattr(args, name) != value:
            flag = f"--{name}" if value is True else f"--{name} {value}"
            raise InputError(f"{mutant}: changes nothing in this model; add {flag}")


def _print(verdict: LayersVerdict, show: str | None) -> None:
    try:
        print_layers(verdict, Console(), show)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader had enough; the exit code still tells the verdict.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_layers(job: LayersJob) -> LayersVerdict:
    """Run the layers rung with a progress bar on a terminal."""
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        TextColumn("{task.completed} tensors"),
        TimeElapsedColumn(),
    )
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(run: str, count: int) -> None:
            if run not in tasks:
                tasks[run] = bars.add_task(run, total=None)
            bars.update(tasks[run], completed=count)

        return compare_layers(job, progress)


def exit_code(verdict: LayersVerdict) -> int:
    """Return 0 for a pass, 1 for a mismatch, 2 if nothing was compared."""
    if verdict.compared == 0:
        return 2
    return 0 if verdict else 1


def _model_args(context: typer.Context) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m parity {context.info_name}", parents=[get_args_parser()])
    return parser.parse_args(context.args)


def main() -> NoReturn:
    """Run the command line; unusable input ends with one line and exit code 2."""
    try:
        app()
    except (InputError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
