"""The command line: ``python -m parity SUBCOMMAND``.

Exit code 0 is a pass, 1 a mismatch, 2 wrong usage, unusable input, or nothing compared, 3 a worker process that died or
could not do its part, so that there is no verdict.
"""

from __future__ import annotations

import json as json_module
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from detr_common.errors import InputError
from detr_common.run import INTERRUPTED
from fixtures.pictures import PAIR
from parity import demo, usage
from parity.arguments import Fault, Html, JittorWeights, Json, Show, Size, Weights, checked_args
from parity.batch import photograph_batch
from parity.bench.cli import OPTIONS as BENCH_OPTIONS
from parity.bench.cli import bench_command
from parity.data_cli import data_command
from parity.doctor import doctor_command
from parity.gotchas.cli import gotchas_command
from parity.html.cli import report_command, write_own
from parity.html.writing import check_report
from parity.ladder_cli import COMMANDS, TRAINING_OPTIONS, progress_bars
from parity.layers import LayersJob, compare_layers
from parity.mutants_cli import mutants_command
from parity.ops.cli import ops_command
from parity.output import PROGRAM, Output, plain
from parity.overhead import measure_overhead
from parity.predict_cli import predict_command
from parity.process import WorkerError
from parity.provenance import describe_inputs
from parity.recording.cli import COMMANDS as RECORDING_COMMANDS
from parity.recording.cli import record_command
from parity.report import print_layers
from parity.train_cli import COMMANDS as RUN_COMMANDS
from parity.train_cli import OPTIONS as RUN_OPTIONS
from parity.verdict import LayersVerdict

EXIT_CODES = """\b
Exit code: 0 all agree; 1 a mismatch; 2 wrong usage, unusable input or nothing
compared; 3 a worker process died or could not do its part: no verdict."""

# Typer raises these without naming their class: a wrong option or value, with a message of one line.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Show how far a Jittor port is from its PyTorch model.",
    epilog=EXIT_CODES,
)
app.command("doctor")(doctor_command)
app.command("gotchas")(gotchas_command)
app.command("data", epilog=EXIT_CODES)(data_command)
app.command("mutants", epilog=EXIT_CODES)(mutants_command)
app.command("ops", epilog=EXIT_CODES)(ops_command)
app.command("report")(report_command)
app.command(
    "bench",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="\b\n" + usage.options_help(BENCH_OPTIONS),
)(bench_command)


for _name, _command in COMMANDS.items():
    app.command(
        _name,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        epilog="\b\n" + usage.options_help(TRAINING_OPTIONS) + "\n\n" + EXIT_CODES,
    )(_command)


for _name, _command in RUN_COMMANDS.items():
    app.command(
        _name,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        epilog="\b\n" + usage.options_help(RUN_OPTIONS, training=True) + "\n\n" + EXIT_CODES,
    )(_command)


for _name, _command in RECORDING_COMMANDS.items():
    app.command(_name, epilog=EXIT_CODES)(_command)


app.command(
    "record",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="\b\n" + usage.options_help(TRAINING_OPTIONS) + "\n\n" + EXIT_CODES,
)(record_command)


app.command(
    "predict",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="\b\n" + usage.options_help() + "\n\n" + EXIT_CODES,
)(predict_command)


@app.command(
    "layers",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="\b\n" + usage.options_help() + "\n\n" + EXIT_CODES,
)
def layers_command(
    context: typer.Context,
    image: Annotated[
        list[Path] | None, typer.Option(help="A photograph; repeat for a batch. Default: two of ours.")
    ] = None,
    weights: Weights = None,
    jittor_weights: JittorWeights = None,
    size: Size = 256,
    show: Show = "",
    keep: Annotated[
        Path | None, typer.Option(readable=False, metavar="DIR", help="Keep the traces in a new folder.")
    ] = None,
    mutant: Fault = "",
    json: Json = False,
    html: Html = None,
    bench: Annotated[bool, typer.Option("--bench", help="Measure instead what capture and comparison cost.")] = False,
) -> None:
    """Compare every module's output, in float64 and in float32. Takes the options of the model as well."""
    usage.check_excluding(("--json", json), ("--show", show), ("--bench", bench))
    usage.check_excluding(("--keep", keep), ("--bench", bench))
    usage.check_excluding(("--html", html), ("--bench", bench))
    check_report("--html", html)
    args = checked_args(context, ("layers",), weights, jittor_weights, mutant)
    usage.check_new_folder("--keep", keep)
    images = photograph_batch(image or [], size)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = weights or demo.write_seeded_checkpoint(args, Path(scratch) / "seeded.pkl")
        seed = None if weights else args.seed
        inputs = describe_inputs(checkpoint, jittor_weights, seed, image or PAIR, images)
        job = LayersJob(args, checkpoint, images, jittor_weights, mutant, keep=keep, show=show, inputs=inputs)
        if bench:
            overhead = measure_overhead(job)
            Output().out(overhead, highlight=False)
            raise typer.Exit(0 if overhead.unchanged else 1)
        verdict = run_layers(job)
    if json:
        Output().out(json_module.dumps(plain(verdict.as_dict()), indent=1, allow_nan=False), highlight=False)
    else:
        print_layers(verdict, Output(), show, usage.command_line(["parity", *sys.argv[1:]]))
    write_own(verdict.as_dict(), html, quiet=json)
    raise typer.Exit(exit_code(verdict))


@app.command("demo", epilog=EXIT_CODES)
def demo_command(
    out: Annotated[Path, typer.Option(help="Folder for the two checkpoints.")] = Path("out/demo"),
    size: Annotated[int, typer.Option(min=32, help="Pixels of the photographs' shorter side.")] = 96,
) -> None:
    """Convert a DETR-R50 checkpoint and climb the whole ladder with both detectors."""
    raise typer.Exit(demo.run(out, size, Output()))


def run_layers(job: LayersJob) -> LayersVerdict:
    """Run the layers rung with a progress bar on a terminal."""
    with progress_bars() as progress:
        return compare_layers(job, progress)


def exit_code(verdict: LayersVerdict) -> int:
    """Return 0 for a pass, 1 for a mismatch, 2 if nothing was compared."""
    if verdict.compared == 0:
        return 2
    return 0 if verdict else 1


def main() -> NoReturn:
    """Run the command line; what cannot be done ends with one line and exit code 2 or 3."""
    arguments = sys.argv[1:]
    code = _run(arguments or ["--help"])
    # Without a command nothing was compared, which is no pass.
    sys.exit(code if arguments else 2)


def _run(arguments: Sequence[str]) -> int:
    try:
        code = int(app(arguments, prog_name=PROGRAM, standalone_mode=False) or 0)
        if code == INTERRUPTED:  # which the library that reads the command line makes of Ctrl-C
            print("interrupted", file=sys.stderr)
        return code
    except InputError as error:
        message, code = str(error), 2
    except WorkerError as error:
        message, code = str(error), 3
    except _UsageError as error:
        message, code = _usage_message(error), 2
    print(f"error: {message}", file=sys.stderr)
    return code


def _usage_message(error: Any) -> str:
    command = error.ctx.command_path if error.ctx else PROGRAM
    return f"{error.format_message().rstrip('.')}; {command} --help lists what there is"
