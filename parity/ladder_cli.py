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

from detr_common import images as photographs
from detr_common.errors import InputError
from fixtures.pictures import PAIR
from parity import demo, training, usage
from parity.arguments import Fault, Html, JittorWeights, Json, Show, Size, Weights, checked_args
from parity.batch import is_large, photograph_batch
from parity.html.cli import write_own
from parity.html.writing import check_report
from parity.ladder import RUNGS, LadderJob, LadderVerdict, Verdict, climb, training_batch
from parity.layers import LayersJob, LayersSession
from parity.ops.cli import print_ops
from parity.ops.session import OpsVerdict
from parity.output import Output, plain
from parity.provenance import describe_inputs
from parity.report import print_layers
from parity.steps_report import print_steps
from parity.steps_verdict import StepsVerdict

# Groups of the detector's options that a training depends on.
TRAINING_OPTIONS = ("backbone", "transformer", "loss", "optimizer", "run")

Forced = Annotated[int, typer.Option(min=0, help="Steps with the same drawn gradients in both.")]
Images = Annotated[
    int,
    typer.Option(
        min=2, max=3, help="Annotated photographs; 2 leaves out the one without objects, and takes a third less."
    ),
]
Free = Annotated[int, typer.Option(min=0, help="Steps in which each trains on its own.")]


def _tensor_command(rung: str, what: str) -> Callable[..., None]:
    """Return the command of a rung that compares tensor by tensor."""

    def command(
        context: typer.Context,
        weights: Weights = None,
        jittor_weights: JittorWeights = None,
        size: Size = 160,
        images: Images = 3,
        show: Show = "",
        mutant: Fault = "",
        json: Json = False,
        html: Html = None,
    ) -> None:
        _run(context, (rung,), weights, jittor_weights, size, images, mutant, json, html, show)

    command.__doc__ = what
    return command


def steps_command(
    context: typer.Context,
    weights: Weights = None,
    jittor_weights: JittorWeights = None,
    size: Size = 96,
    images: Images = 3,
    forced: Forced = 4,
    free: Free = 10,
    mutant: Fault = "",
    json: Json = False,
    html: Html = None,
) -> None:
    """Compare the optimizers on the same gradients, and then two trainings step by step."""
    if not forced + free:
        raise InputError("--forced 0 with --free 0 leaves nothing to compare; give one of them some steps")
    _run(context, ("steps",), weights, jittor_weights, size, images, mutant, json, html, forced=forced, free=free)


def ladder_command(
    context: typer.Context,
    weights: Weights = None,
    jittor_weights: JittorWeights = None,
    size: Size = 160,
    images: Images = 3,
    forced: Forced = 4,
    free: Free = 10,
    mutant: Fault = "",
    json: Json = False,
    html: Html = None,
) -> None:
    """Run all rungs: ops, layers, losses, gradients, steps."""
    if not forced or not free:
        raise InputError("--forced 0 and --free 0 leave out a part of the ladder; parity steps can do without one")
    _run(context, RUNGS, weights, jittor_weights, size, images, mutant, json, html, forced=forced, free=free)


COMMANDS: dict[str, Callable[..., None]] = {
    "losses": _tensor_command(
        "losses", "Compare the matching and every loss on three annotated photographs, one without objects."
    ),
    "gradients": _tensor_command(
        "gradients", "Compare the gradient of the total loss with respect to parameters and module outputs."
    ),
    "steps": steps_command,
    "ladder": ladder_command,
}


def _run(
    context: typer.Context,
    rungs: tuple[str, ...],
    weights: Path | None,
    jittor_weights: Path | None,
    size: photographs.Size,
    images: int,
    mutant: str,
    json: bool,
    html: Path | None,
    show: str = "",
    forced: int = 4,
    free: int = 10,
) -> None:
    usage.check_excluding(("--json", json), ("--show", show))
    check_report("--html", html)
    args = checked_args(context, rungs, weights, jittor_weights, mutant)
    batch, pair = training_batch(size, images), photograph_batch([], size)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = weights or demo.write_seeded_checkpoint(args, Path(scratch) / "seeded.pkl")
        inputs = describe_inputs(checkpoint, jittor_weights, None if weights else args.seed, PAIR, pair)
        model = LayersJob(args, checkpoint, pair, jittor_weights, mutant, inputs=inputs)
        job = LadderJob(model, batch, forced, free, args.seed, rungs=rungs)
        with LayersSession(sparing=is_large(batch.images)) as session:
            verdict = run_ladder(session, job, lambda one: None if json else report(one, Output(), show))
    data = verdict.as_dict() if len(rungs) > 1 else verdict.verdicts[0].as_dict()
    if json:
        Output().out(json_module.dumps(plain(data), indent=1, allow_nan=False), highlight=False)
    elif len(rungs) > 1:
        summarise(verdict, Output())
    write_own(data, html, quiet=json)
    raise typer.Exit(2 if verdict.compared == 0 else 0 if verdict else 1)


def run_ladder(session: LayersSession, job: LadderJob, done: Callable[[Verdict], None]) -> LadderVerdict:
    """Climb with a progress bar on a terminal."""
    with progress_bars() as progress:
        return climb(session, job, progress, done)


def report(verdict: Verdict, console: Console, show: str = "") -> None:
    """Print the story of one rung."""
    if isinstance(verdict, OpsVerdict):
        print_ops(verdict, console)
    elif isinstance(verdict, StepsVerdict):
        print_steps(verdict, console)
    else:
        print_layers(verdict, console, show, usage.command_line(["parity", verdict.rung, *sys.argv[2:]]))


def summarise(verdict: LadderVerdict, console: Console) -> None:
    """Print one line for each rung."""
    console.print("\n[bold]The ladder[/]")
    for one in verdict.verdicts:
        mark = "[bold green]✓ PASS[/]" if one else "[bold red]✗ FAIL[/]"
        console.print(f"{mark}  {one.rung:<10} {one.compared} compared", highlight=False)
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
