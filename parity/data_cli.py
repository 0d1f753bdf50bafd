"""``python -m parity data``: whole batches of a data set, in both frameworks."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from detr_common.errors import InputError
from detr_common.options import NUM_CLASSES, training_args
from parity import usage
from parity.arguments import Json
from parity.data import DataJob, DataVerdict, compare_data
from parity.ladder_cli import progress_bars
from parity.loading import measure_loading
from parity.mutants.data import DATA
from parity.output import Output, plain

_SHOWN = 10


def data_command(
    coco_path: Annotated[
        Path,
        typer.Option(
            "--coco_path", readable=False, metavar="DIR", help="Folder of train2017, val2017 and annotations."
        ),
    ],
    part: Annotated[str, typer.Option(help="train, val or both.")] = "both",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the training part, each drawn anew.")] = 1,
    image_size: Annotated[
        int, typer.Option("--image_size", min=64, help="Shorter side for evaluation; scales augmentation.")
    ] = 800,
    batch_size: Annotated[int, typer.Option("--batch_size", min=1)] = 2,
    num_workers: Annotated[
        int, typer.Option("--num_workers", min=0, help="Processes that read for each framework.")
    ] = 0,
    num_classes: Annotated[int | None, typer.Option("--num_classes", min=1, help="If others than COCO's.")] = None,
    seed: int = 42,
    masks: Annotated[bool, typer.Option("--masks", help="Compare the masks of objects too.")] = False,
    dataset_file: Annotated[str, typer.Option("--dataset_file", help="coco or coco_panoptic.")] = "coco",
    coco_panoptic_path: Annotated[
        Path | None,
        typer.Option("--coco_panoptic_path", readable=False, metavar="DIR", help="Folder of the panoptic annotations."),
    ] = None,
    mutant: Annotated[str, typer.Option(metavar="NAME", help="Plant a fault where the port reads.")] = "",
    json: Json = False,
    bench: Annotated[
        bool, typer.Option("--bench", help="Measure instead how fast they are loaded, beside torchvision.")
    ] = False,
) -> None:
    """Compare whole batches, bit by bit: images, padding masks, boxes, labels and all else that is in the targets."""
    usage.check_excluding(("--json", json), ("--bench", bench))
    if part not in ("train", "val", "both"):
        raise InputError(f"--part {part}: give train, val or both")
    if dataset_file not in NUM_CLASSES:
        raise InputError(f"--dataset_file {dataset_file}: give {' or '.join(NUM_CLASSES)}")
    if mutant and mutant not in [one.name for one in DATA]:
        raise InputError(f"--mutant {mutant}: no such fault of reading; {', '.join(one.name for one in DATA)}")
    args = training_args(
        coco_path=str(coco_path),
        coco_panoptic_path=str(coco_panoptic_path or ""),
        dataset_file=dataset_file,
        masks=masks,
        image_size=image_size,
        batch_size=batch_size,
        num_workers=num_workers,
        num_classes=num_classes,
        seed=seed,
    )
    if bench:
        Output().out(measure_loading(args), highlight=False)
        raise typer.Exit(0)
    parts = ("train", "val") if part == "both" else (part,)
    with progress_bars() as progress:
        verdict = compare_data(DataJob(args, parts, epochs, mutant), progress)
    if json:
        Output().out(json_module.dumps(plain(verdict.as_dict()), indent=1, allow_nan=False), highlight=False)
    else:
        print_data(verdict)
    raise typer.Exit(2 if verdict.compared == 0 else 0 if verdict else 1)


def print_data(verdict: DataVerdict) -> None:
    """Print the story of the rung."""
    console = Output()
    mark = "✓ PASS" if verdict else "✗ FAIL"
    same = verdict.compared - len(verdict.different)
    console.print(
        f"{mark}  data: {same} of {verdict.compared} arrays of {verdict.images} photographs are equal bit by bit",
        markup=False,
        highlight=False,
    )
    for line in verdict.different[:_SHOWN]:
        console.print(f"  ✗ {line}", markup=False, highlight=False)
    if len(verdict.different) > _SHOWN:
        console.print(f"  and {len(verdict.different) - _SHOWN} more", highlight=False)
