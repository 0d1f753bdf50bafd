"""``python -m parity port``, ``record``, ``compare`` and ``bisect``."""

from __future__ import annotations

import json as json_module
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from detr_common import images
from detr_common.errors import InputError
from fixtures.pictures import PAIR
from parity import demo, usage
from parity.arguments import Html, JittorWeights, Json, Show, Size, Weights, checked_args
from parity.batch import photograph_batch
from parity.frameworks import FRAMEWORKS, builders
from parity.html.cli import write_own
from parity.html.writing import check_report
from parity.ladder import training_batch
from parity.ladder_cli import progress_bars
from parity.layers import LayersJob
from parity.output import Output, plain
from parity.port.port import Port
from parity.port.verdict import PortVerdict
from parity.provenance import describe_inputs
from parity.recording.bisect import Parting, bisect
from parity.recording.jobs import record_detector, record_port
from parity.recording.layout import Recording
from parity.recording.replay import compare_recordings

# What names a description, and is no option nor a value of one.
PORT_NAME = re.compile(r"^[^-].*\.py(:\w+)?$|^[^-][\w.]*:\w+$")

Described = Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="A Port; NAME is PORT if left out.")]
Rungs = Annotated[str, typer.Option(help="Names with commas between; all by default.")]
First = Annotated[Path, typer.Argument(metavar="DIR", help="A recording, of PyTorch or the one to trust.")]
Second = Annotated[Path, typer.Argument(metavar="DIR", help="The other recording.")]


def port_command(
    described: Described, rungs: Rungs = "", show: Show = "", json: Json = False, html: Html = None
) -> None:
    """Compare a model with its port, as a file describes them: weights, layers, losses, gradients, steps."""
    usage.check_excluding(("--json", json), ("--show", show))
    check_report("--html", html)
    port = find_port(described)
    with progress_bars() as progress:
        verdict = port.compare(_rungs(rungs), show=show, progress=progress)
    _finish(verdict, json, html)


def record_command(
    context: typer.Context,
    framework: Annotated[str, typer.Option(help="torch or jittor.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.", readable=False)],
    follow: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="PyTorch's recording, which Jittor follows.")
    ] = None,
    rungs: Rungs = "",
    operations: Annotated[
        bool, typer.Option("--operations", help="Note every operation's result in short, for parity bisect.")
    ] = False,
    weights: Weights = None,
    jittor_weights: JittorWeights = None,
    size: Size = 96,
    forced: Annotated[int, typer.Option(min=0, help="Steps with drawn gradients.")] = 4,
    free: Annotated[int, typer.Option(min=0, help="Steps of training.")] = 10,
    mutant: Annotated[str, typer.Option(metavar="NAME", help="Plant a known fault in the Jittor detector.")] = "",
) -> None:
    """Record one framework, to be compared later or elsewhere: of a Port, FILE.py:NAME, or else of the detector.

    Takes the options of the detector as well.
    """
    # Looked for by hand, since a value of one of the detector's options would be taken for it.
    described = next((word for word in context.args if PORT_NAME.search(word)), "")
    if framework not in FRAMEWORKS:
        raise InputError(f"--framework {framework}: no such framework; choose torch or jittor")
    if described:
        others = [word for word in context.args if word != described]
        if others:
            raise InputError(f"{others[0]}: the options of the detector do not go with {described}")
        with progress_bars() as progress:
            recording = record_port(find_port(described), framework, out, follow, _rungs(rungs), operations, progress)
    else:
        recording = _record_detector(
            context,
            framework,
            out,
            follow,
            weights,
            jittor_weights,
            size,
            (forced, free),
            mutant,
            operations,
            _rungs(rungs),
        )
    _tell(recording, out)


def compare_command(first: First, second: Second, show: Show = "", json: Json = False, html: Html = None) -> None:
    """Compare a recording of PyTorch with one of Jittor; neither framework is needed."""
    usage.check_excluding(("--json", json), ("--show", show))
    check_report("--html", html)
    with progress_bars() as progress:
        verdict = compare_recordings(first, second, show, progress)
    _finish(verdict, json, html)


def bisect_command(first: First, second: Second, json: Json = False) -> None:
    """Name the first module in which two recordings differ, and the first operation inside it."""
    parting = bisect(first, second)
    if json:
        Output().out(json_module.dumps({**vars(parting), "passed": bool(parting)}, indent=1), highlight=False)
    else:
        _print_parting(parting, Output())
    raise typer.Exit(2 if not parting.compared and not parting.module else 0 if parting else 1)


COMMANDS: dict[str, Callable[..., None]] = {"port": port_command, "compare": compare_command, "bisect": bisect_command}


def find_port(described: str) -> Port:
    """Return the ``Port`` that ``FILE.py:NAME`` names; NAME is PORT if it is left out.

    Raises:
        InputError: there is none.
    """
    reference = described if ":" in described else f"{described}:PORT"
    found = builders.find(reference)
    if not isinstance(found, Port):
        raise InputError(f"{reference}: is of type {type(found).__name__}, where a parity.Port is due")
    return found


def _rungs(text: str) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def _record_detector(
    context: typer.Context,
    framework: str,
    out: Path,
    follow: Path | None,
    weights: Path | None,
    jittor_weights: Path | None,
    size: images.Size,
    steps: tuple[int, int],
    mutant: str,
    operations: bool,
    rungs: list[str] | None,
) -> Recording:
    args = checked_args(context, ("layers", "losses", "gradients", "steps"), weights, jittor_weights, mutant)
    batch, photographs = training_batch(size), photograph_batch([], size)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = weights or demo.write_seeded_checkpoint(args, Path(scratch) / "seeded.pkl")
        inputs = describe_inputs(checkpoint, jittor_weights, None if weights else args.seed, PAIR, photographs)
        job = LayersJob(args, checkpoint, photographs, jittor_weights, mutant, inputs=inputs)
        with progress_bars() as progress:
            return record_detector(job, batch, framework, out, follow, steps, operations, progress, rungs)


def _tell(recording: Recording, out: Path) -> None:
    console = Output()
    console.out(
        f"{out}: {recording.framework}, {', '.join(recording.same['rungs'])}: {len(recording.traces)} traces, "
        f"{len(recording.weights)} weights, identity {recording.identity[:16]}",
        highlight=False,
    )
    for place, failure in recording.failures.items():
        console.out(f"the model raised in {place}: {failure.strip().splitlines()[-1]}", highlight=False)
    if recording.framework == "torch":
        then = f"python -m parity record --framework jittor --from {out} --out ... (the same)"
        console.out(f"Next: {then}", highlight=False)
    else:
        console.out(f"Next: python -m parity compare ... {out}", highlight=False)


def _finish(verdict: PortVerdict, json: bool, html: Path | None) -> None:
    if json:
        Output().out(json_module.dumps(plain(verdict.as_dict()), indent=1, allow_nan=False), highlight=False)
    else:
        verdict.print(Output(), command=usage.command_line(["parity", *sys.argv[1:]]))
    write_own(verdict.as_dict(), html, quiet=json)
    raise typer.Exit(2 if verdict.compared == 0 else 0 if verdict else 1)


def _print_parting(parting: Parting, console: Output) -> None:
    if parting:
        console.out(f"✓ the same: {parting.compared} tensors of the float64 layers", highlight=False)
        return
    if not parting.module:
        console.out("nothing was compared", highlight=False)
        return
    console.out(f"✗ {parting.module}  ({parting.source})", highlight=False)
    console.out(f"  tensor {parting.tensor} {parting.problem}; {parting.compared} were looked at", highlight=False)
    if parting.operation:
        console.out(f"  first operation whose result the first recording has not: {parting.operation}", highlight=False)
    if parting.instead:
        console.out(f"  first one of the first recording that is not here: {parting.instead}", highlight=False)
    if not parting.operations:
        console.out("  record both with --operations to see the operation inside it", highlight=False)
    elif not parting.operation and not parting.instead:
        console.out("  every operation inside it is there on both sides: look at what it was given", highlight=False)
