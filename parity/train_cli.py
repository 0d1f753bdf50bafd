"""``python -m parity train`` and ``converge``: whole runs of both training programs."""

from __future__ import annotations

import argparse
import json as json_module
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from detr_common.errors import InputError
from detr_common.options import check_model_options
from detr_common.run import check_training_args
from parity import usage
from parity.arguments import Json
from parity.output import PROGRAM, Output, plain
from parity.runs.training import RunProgress, TrainJob

if TYPE_CHECKING:
    from parity.runs.converge import ConvergeVerdict
    from parity.runs.verdict import TrainVerdict

# Groups of options that a run depends on.
OPTIONS = ("backbone", "transformer", "loss", "optimizer", "run", "data", "training")

OutputDir = Annotated[
    Path, typer.Option("--output_dir", readable=False, metavar="DIR", help="Folder of all runs; those in it go on.")
]
Weights = Annotated[
    Path | None, typer.Option(readable=False, help="With which all runs begin. Default: drawn by --seed.")
]
Jobs = Annotated[int, typer.Option(min=1, help="Runs at a time; they share the processors.")]


def train_command(
    context: typer.Context,
    output_dir: OutputDir,
    weights: Weights = None,
    twins: Annotated[int, typer.Option(min=1, help="Runs of PyTorch from weights that are moved by one ulp.")] = 2,
    first_steps: Annotated[
        int, typer.Option("--first-steps", min=0, help="Steps that are compared in float64 first; 0 for none.")
    ] = 10,
    jobs: Jobs = 1,
    json: Json = False,
) -> None:
    """Train both detectors from the same weights on the same batches and dropout masks, and draw their curves.

    Takes the options of the training programs as well.
    """
    from parity.runs.verdict import compare_training  # which imports what draws, for a second

    args = _training_args(context, weights)
    job = TrainJob(args, output_dir, weights, twins, jobs)
    with _run_bars(json) as progress:
        verdict = compare_training(job, first_steps, progress)
    _report(verdict, json)
    raise typer.Exit(0 if verdict else 1)


def converge_command(
    context: typer.Context,
    output_dir: OutputDir,
    margin_ap: Annotated[float, typer.Option("--margin-ap", help="Difference of AP that counts as none.")],
    margin_loss: Annotated[float, typer.Option("--margin-loss", help="The same of the final loss, as a fraction.")],
    seeds: Annotated[int, typer.Option(min=3, help="Runs of each framework, each of a seed of its own.")] = 5,
    jobs: Jobs = 1,
    json: Json = False,
) -> None:
    """Train both detectors from several seeds, and test whether they end at the same AP and loss (TOST).

    The margins are written to the folder before the first run. Takes the options of the training programs as well.
    """
    from parity.runs.converge import ConvergeJob, converge  # which imports what tests, for seconds

    args = _training_args(context, None)
    with _run_bars(json) as progress:
        verdict = converge(ConvergeJob(args, output_dir, seeds, margin_ap, margin_loss, jobs), progress)
    _report(verdict, json)
    raise typer.Exit(0 if verdict else 1)


def _training_args(context: typer.Context, weights: Path | None) -> argparse.Namespace:
    own = [option for parameter in context.command.params for option in parameter.opts]
    args = usage.model_args(context.args, f"{PROGRAM} {context.info_name}", own, training=True)
    if args.eval or args.resume or args.start_epoch:
        raise InputError("--eval, --resume, --start_epoch: leave them out; runs in --output_dir go on by themselves")
    usage.check_device(args.device)
    usage.check_file("--weights", weights)
    check_model_options(args)
    args.output_dir = ""
    check_training_args(args)
    args.eval_train = True
    return args


def _report(verdict: TrainVerdict | ConvergeVerdict, json: bool) -> None:
    console = Output()
    if json:
        console.out(json_module.dumps(plain(verdict.as_dict()), indent=1, allow_nan=False), highlight=False)
        return
    for line in verdict.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _run_bars(quiet: bool) -> Iterator[RunProgress]:
    """Show how far each run is, on a terminal; elsewhere when it begins and when it is over."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeRemainingColumn(),
    )
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=quiet or not errors.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(run: str, done: int, total: int) -> None:
            if bars.disable and not quiet and (run not in tasks or done == total):
                errors.print(f"{run}: step {done} of {total}", highlight=False, soft_wrap=True)
            if run not in tasks:
                tasks[run] = bars.add_task(run, total=total)
            bars.update(tasks[run], completed=done)

        try:
            yield progress
        except KeyboardInterrupt:
            errors.print("the same command goes on from the last epoch of each run")
            raise


COMMANDS: dict[str, Callable[..., None]] = {"train": train_command, "converge": converge_command}
