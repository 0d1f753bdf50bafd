"""``python -m parity losses``, ``gradients``, ``steps`` and ``ladder``."""

from __future__ import annotations

import json as json_module
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from detr_common.errors import InputError
from fixtures.pictures import PAIR
from fixtures.shapes import check
from parity import demo, training, usage
from parity.batch import photograph_batch
from parity.ladder import RUNGS, LadderJob, LadderVerdict, Verdict, climb, training_batch
from parity.layers import LayersJob, LayersSession
from parity.output import PROGRAM, Output, plain
from parity.provenance import describe_inputs
from parity.report import print_layers
from parity.steps_report import print_steps
from parity.steps_verdict import StepsVerdict

Weights = Annotated[
    Path | None, typer.Option(readable=False, help="Checkpoint of both models. Default: seeded by --seed.")
]
JittorWeights = Annotated[Path | None, typer.Option(readable=False, help="Checkpoint of the Jittor model, if another.")]
Size = Annotated[int, typer.Option(min=32, help="Pixels of the photographs' shorter side.")]
Show = Annotated[str, typer.Option(metavar="MODULE", help="List every tensor of a module.")]
Fault = Annotated[str, typer.Option(metavar="NAME", help="Plant a known fault in the Jittor model (parity mutants).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Forced = Annotated[int, typer.Option(min=0, help="Steps with the same drawn gradients in both.")]
Free = Annotated[int, typer.Option(min=0, help="Steps in which each trains on its own.")]


def losses_command(
    context: typer.Context,
    weights: Weights = None,
    jittor_weights: JittorWeights = None,
    size: Size = 160,
    show: Show = "",
    mutant: Fault = "",
    json: Json = False,
) -> None:
    """Compare the matching and every loss on three annotated photographs, one without objects."""
    _run(context, ("losses",), weights, jittor_weights, size, mutant, json, show)


def gradients_command(
    context: typer.Context,
    weights: Weights = None,
    jittor_weights: JittorWeights = None,
    size: Size = 160,
    show: Show = "",
    mutant: Fault = "",
    json: Json = False,
) -> None:
    """Compare the gradient of the total loss with respect to every parameter and every module's output."""
    _run(context, ("gradients",), weights, jittor_weights, size, mutant, json, show)


def steps_command(
    context: typer.Context,
    weights: Weights = None,
    jittor_weights: JittorWeights = None,
    size: Size = 96,
    forced: Forced = 4,
    free: Free = 10,
    mutant: Fault = "",
    json: Json = False,
) -> None:
    """Compare the optimizers on the same gradients, and then two trainings step by step."""
    if not forced + free:
        raise InputError("--forced 0 with --free 0 leaves nothing to compare; give one of them some steps")
    _run(context, ("steps",), weights, jittor_weights, size, mutant, json, forced=forced, free=free)


def ladder_command(
    context: typer.Context,
    weights: Weights = None,
    jittor_weights: JittorWeights = None,
    size: Size = 160,
    forced: Forced = 4,
    free: Free = 10,
    mutant: Fault = "",
    json: Json = False,
) -> None:
    """Run all rungs: layers, losses, gradients, steps."""
    if not forced or not free:
        raise InputError("--forced 0 and --free 0 leave out a part of the ladder; parity steps can do without one")
    _run(context, RUNGS, weights, jittor_weights, size, mutant, json, forced=forced, free=free)


COMMANDS: dict[str, Callable[..., None]] = {
    "losses": losses_command,
    "gradients": gradients_command,
    "steps": steps_command,
    "ladder": ladder_command,
}


def _run(
    context: typer.Context,
    rungs: tuple[str, ...],
    weights: Path | None,
    jittor_weights: Path | None,
    size: int,
    mutant: str,
    json: bool,
    show: str = "",
    forced: int = 4,
    free: int = 10,
) -> None:
    own_options = [option for parameter in context.command.params for option in parameter.opts]
    args = usage.model_args(context.args, f"{PROGRAM} {context.info_name}", own_options)
    usage.check_excluding(("--json", json), ("--show", show))
    if jittor_weights and not weights:
        raise InputError("--jittor-weights: give PyTorch's checkpoint too, with --weights")
    usage.check_mutant(mutant, args, rungs)
    usage.check_device(args.device)
    check(args)
    usage.check_file("--weights", weights)
    usage.check_file("--jittor-weights", jittor_weights)
    batch, images = training_batch(size), photograph_batch([], size)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = weights or demo.write_seeded_checkpoint(args, Path(scratch) / "seeded.pkl")
        inputs = describe_inputs(checkpoint, jittor_weights, None if weights else args.seed, PAIR, images)
        model = LayersJob(args, checkpoint, images, jittor_weights, mutant, inputs=inputs)
        job = LadderJob(model, batch, forced, free, args.seed, rungs)
        with LayersSession() as session:
            verdict = run_ladder(session, job, lambda one: None if json else report(one, Output(), show))
    if json:
        data = verdict.as_dict() if len(rungs) > 1 else verdict.verdicts[0].as_dict()
        Output().out(json_module.dumps(plain(data), indent=1, allow_nan=False), highlight=False)
    elif len(rungs) > 1:
        summarise(verdict, Output())
    raise typer.Exit(2 if verdict.compared == 0 else 0 if verdict else 1)


def run_ladder(session: LayersSession, job: LadderJob, done: Callable[[Verdict], None]) -> LadderVerdict:
    """Climb with a progress bar on a terminal."""
    with progress_bars() as progress:
        return climb(session, job, progress, done)


def report(verdict: Verdict, console: Console, show: str = "") -> None:
    """Print the story of one rung."""
    if isinstance(verdict, StepsVerdict):
        print_steps(verdict, console)
    else:
        print_layers(verdict, console, show, usage.command_line(["parity", verdict.rung, *sys.argv[2:]]))


def summarise(verdict: LadderVerdict, console: Console) -> None:
    """Print one line for each rung."""
    console.print("\n[bold]The ladder[/]")
    for one in verdict.verdicts:
        mark = "[bold green]✓ PASS[/]" if one else "[bold red]✗ FAIL[/]"
        console.print(f"{mark}  {one.rung:<10} {one.compared} tensors compared", highlight=False)
    for rung in verdict.left_out:
        console.print(f"[bold red]✗ FAIL[/]  {rung:<10} did not run", highlight=False)


@contextmanager
def progress_bars() -> Iterator[training.Progress]:
    """Show how many tensors of each run have come, on a terminal."""
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

        yield progress
