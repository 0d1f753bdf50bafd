"""What comparing costs beside the steps: capture, conversion, loading, compilation, and the project's own tests."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

import fixtures
from detr_common.errors import InputError
from detr_common.options import training_args
from parity import usage
from parity.batch import photograph_batch
from parity.bench.child import run_python
from parity.bench.cold import compilation
from parity.bench.figures import Cost, Figure, Job, Measurement, Progress
from parity.bench.photographs import MOST
from parity.bench.suite import suite
from parity.demo import write_seeded_checkpoint
from parity.layers import LayersJob
from parity.loading import LoadingSpeed, loading_dataset
from parity.overhead import measure_overhead
from weight_convert.convert import convert
from weight_convert.measure import measure as measure_conversion

# How often each photograph of the project is in the data set that is made of them.
_TIMES = 40
# Processes that read: none but the own, and what the training programs take.
_WORKERS = (0, 2)


def capture(job: Job) -> Measurement:
    """Prepare to measure what capturing and comparing costs beside plain forward passes."""

    def measure(progress: Progress) -> Cost:
        progress("capture: comparisons and plain passes")
        with tempfile.TemporaryDirectory() as folder:
            weights = write_seeded_checkpoint(job.model, Path(folder) / "seeded.pkl")
            images = photograph_batch([], min(job.size))
            overhead = measure_overhead(LayersJob(job.model, weights, images), job.rounds)
        same = "bitwise equal" if overhead.unchanged else "NOT EQUAL"
        return Cost(
            "capture",
            f"{len(images)} photographs of {min(job.size)} pixels; results with and without capture {same}",
            {
                "captured and compared": Figure(overhead.captured, "s"),
                "plain forward passes": Figure(overhead.plain, "s"),
                "ratio": Figure(overhead.ratio, "times"),
            },
        )

    return measure


def converter(job: Job) -> Measurement:
    """Prepare to measure conversions of the detector's checkpoint beside copies of the file."""

    def measure(progress: Progress) -> Cost:
        found: dict[str, Figure] = {}
        with tempfile.TemporaryDirectory() as folder:
            pkl, pth = Path(folder) / "seeded.pkl", Path(folder) / "seeded.pth"
            write_seeded_checkpoint(job.model, pkl)
            convert(pkl, pth)
            for source, destination in ((pth, pkl), (pkl, pth)):
                way = f"{source.suffix} to {destination.suffix}"
                progress(f"converter: {way}")
                figures = measure_conversion(source, destination, job.rounds)
                found[way] = Figure(figures.file_bytes / figures.seconds / 1e6, "MB/s")
                found[f"{way}, copying and syncing"] = Figure(figures.file_bytes / figures.copy_seconds / 1e6, "MB/s")
                found[f"{way}, ratio of the times"] = Figure(figures.ratio, "times")
        return Cost("converter", f"the detector's checkpoint, {figures.file_bytes / 1e6:.0f} MB", found)

    return measure


def loading(job: Job) -> Measurement:
    """Prepare to measure how fast photographs for training are loaded, beside torchvision and PyTorch's DataLoader.

    Raises:
        InputError: the data set cannot be used, or is smaller than two batches.
    """
    given = job.coco_path
    own = _TIMES * len(fixtures.photographs())
    if given is None and own < 2 * job.training.batch_size:
        raise InputError(
            f"--batch_size: --also loading has {own} photographs, and needs two batches; give a smaller one"
        )
    if given is not None:
        loading_dataset(_loading_args(job, given, 0), MOST)

    def measure(progress: Progress) -> Cost:
        found: dict[str, Figure] = {}
        with tempfile.TemporaryDirectory() as folder:
            photographs = given or write_photographs(Path(folder))
            progress(f"loading: {' and '.join(map(str, _WORKERS))} workers")
            for speed in _measured([_loading_args(job, photographs, workers) for workers in _WORKERS], job.rounds):
                found.update(_speed(speed))
        whose = "photographs of the project, repeated," if given is None else f"at most {MOST} photographs of {given}"
        how = f"augmented at {min(job.size)} pixels, batches of {job.training.batch_size}, one thread a process"
        return Cost("loading", f"{whose} {how}", found)

    return measure


def _measured(args: Sequence[argparse.Namespace], rounds: int) -> list[LoadingSpeed]:
    request = json.dumps({"args": [vars(one) for one in args], "rounds": rounds})
    # PyTorch's threads wait for each other so long, where something else has a processor, that it loads a tenth.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = run_python("loading", ["-m", "parity.bench.photographs", request], environment)
    return [LoadingSpeed(**json.loads(line)) for line in said.splitlines()[-len(args) :]]


def _loading_args(job: Job, folder: Path, workers: int) -> argparse.Namespace:
    return training_args(
        coco_path=str(folder),
        image_size=min(job.size),
        batch_size=job.training.batch_size,
        num_workers=workers,
        num_classes=job.model.num_classes,
        seed=job.model.seed,
    )


def _speed(speed: LoadingSpeed) -> dict[str, Figure]:
    workers = f"{speed.workers} workers" if speed.workers else "one process"
    return {
        f"{workers}, ours": Figure(speed.ours, "photographs/s"),
        f"{workers}, torchvision and DataLoader": Figure(speed.upstream, "photographs/s"),
        f"{workers}, ratio": Figure(speed.ours / speed.upstream, "times"),
    }


def write_photographs(folder: Path) -> Path:
    """Write a data set for training in COCO's layout, the photographs of the project many times; return the folder."""
    content = fixtures.annotations()
    photographs, annotations = content["images"], content["annotations"]
    step = 1 + max(one["id"] for one in (*photographs, *annotations))
    content["images"] = [{**one, "id": one["id"] + step * time} for time in range(_TIMES) for one in photographs]
    content["annotations"] = [
        {**one, "id": one["id"] + step * time, "image_id": one["image_id"] + step * time}
        for time in range(_TIMES)
        for one in annotations
    ]
    (folder / "train2017").mkdir()
    for path in fixtures.photographs():
        shutil.copy(path, folder / "train2017")
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(content), encoding="utf8")
    return folder


COSTS: dict[str, Callable[[Job], Measurement]] = {
    "capture": capture,
    "converter": converter,
    "loading": loading,
    "compilation": compilation,
    "suite": suite,
}
# The suite takes minutes, so that only its name asks for it.
ALL = tuple(name for name in COSTS if name != "suite")


def parse_costs(text: str | None) -> list[str]:
    """Return the costs that ``--also`` names, each once; "all" is ``ALL``, and None is none.

    Raises:
        InputError: there is no such cost.
    """
    names: list[str] = []
    for name in [] if text is None else text.split(","):
        if name not in (*COSTS, "all"):
            hint = usage.did_you_mean(name, (*COSTS, "all"))
            raise InputError(f"--also: there is no {name!r}{hint}; {', '.join(COSTS)}, or all for all but suite")
        names += ALL if name == "all" else [name]
    return list(dict.fromkeys(names))


def prepare(names: Sequence[str], job: Job) -> list[Measurement]:
    """Prepare to measure costs; all that can be refused is refused here.

    Args:
        names: of ``COSTS``.
        job: what they are measured on.

    Raises:
        InputError: data, the kernel cache or an option cannot be used, or the tests are not there.
    """
    if job.coco_path is not None and "loading" not in names:
        raise InputError("--coco_path: only --also loading reads photographs; add that, or leave the option out")
    return [COSTS[name](job) for name in names]


def print_costs(out: Console, costs: Sequence[Cost]) -> None:
    """Print the figures of each cost with their units."""
    for cost in costs:
        out.print(f"{cost.name}: {cost.on}", markup=False, highlight=False, soft_wrap=True)
        table = Table(box=None, show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_column()
        for what, figure in cost.figures.items():
            table.add_row(what, str(figure), figure.unit)
        out.print(table)
