"""The options that the comparing commands share, and their checks."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from detr_common import images
from detr_common.errors import InputError
from detr_common.options import check_model_options
from parity import usage
from parity.output import PROGRAM

Weights = Annotated[
    Path | None, typer.Option(readable=False, help="Checkpoint of both models. Default: seeded by --seed.")
]
JittorWeights = Annotated[Path | None, typer.Option(readable=False, help="Checkpoint of the Jittor model, if another.")]


def sides_in(text: str) -> list[int]:
    """Return the one or two numbers of ``N`` or ``HxW``; none where it is neither."""
    match = re.fullmatch(r"([0-9]{1,9})(?:x([0-9]{1,9}))?", text.strip())
    return [int(side) for side in match.groups() if side] if match else []


def pixels(text: str | images.Size) -> images.Size:
    """Return what ``--size`` means, N or HxW.

    Raises:
        BadParameter: it is neither, or a side is smaller than the backbone takes.
    """
    sides = sides_in(str(text))
    if not sides or not images.MIN_SIDE <= min(sides) <= max(sides) <= images.MOST_SIDE:
        raise typer.BadParameter(
            f"{text} is not N or HxW, of {images.MIN_SIDE} to {images.MOST_SIDE} pixels, as 512 or 512x640"
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


Size = Annotated[
    Any,  # typer knows no unions
    typer.Option(
        parser=pixels,
        metavar="N|HxW",
        help="Pixels of the photographs' shorter side, or of a frame that they fit into.",
    ),
]
Show = Annotated[str, typer.Option(metavar="MODULE", help="List every tensor of a module.")]
Fault = Annotated[
    str, typer.Option(metavar="NAME", help="Plant a known fault in the Jittor model; parity mutants lists them.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Html = Annotated[
    Path | None,
    typer.Option("--html", readable=False, metavar="FILE", help="Write the result as one HTML page as well."),
]


def checked_args(
    context: typer.Context,
    rungs: Collection[str],
    weights: Path | None,
    jittor_weights: Path | None,
    mutant: str,
) -> argparse.Namespace:
    """Return the detector's options of a command, once all that can be known before a worker starts is right.

    Raises:
        InputError: an option, a file, the fault or the device cannot be used.
    """
    own_options = [option for parameter in context.command.params for option in parameter.opts]
    args = usage.model_args(context.args, f"{PROGRAM} {context.info_name}", own_options)
    if jittor_weights and not weights:
        raise InputError("--jittor-weights: give PyTorch's checkpoint too, with --weights")
    usage.check_mutant(mutant, args, rungs)
    usage.check_device(args.device)
    check_model_options(args)
    usage.check_file("--weights", weights)
    usage.check_file("--jittor-weights", jittor_weights)
    return args
