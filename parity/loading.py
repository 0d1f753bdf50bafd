"""How fast photographs are loaded, beside torchvision's transforms and PyTorch's DataLoader."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from detr_common.coco import CocoDetection, build_dataset
from detr_common.errors import InputError
from detr_common.loader import Loader

ROUNDS = 5


@dataclass(frozen=True)
class LoadingSpeed:
    """Photographs a second, medians of rounds that were taken in turn.

    Attributes:
        ours: of ``detr_common.loader``.
        upstream: of the yardstick.
        workers: processes of each.
    """

    ours: float
    upstream: float
    workers: int

    def __str__(self) -> str:
        return (
            f"loading: {self.ours:.1f} photographs a second, torchvision and DataLoader {self.upstream:.1f}, "
            f"ratio {self.ours / self.upstream:.2f} ({self.workers} workers each)"
        )


def measure_loading(args: argparse.Namespace) -> LoadingSpeed:
    """Measure both on the photographs for training, augmented.

    Args:
        args: options of a training program.

    Raises:
        InputError: the data cannot be used.
    """
    return measure_dataset(loading_dataset(args), args)


def loading_dataset(args: argparse.Namespace, most: int | None = None) -> CocoDetection:
    """Return the photographs for training, augmented.

    Args:
        args: options of a training program.
        most: how many of them, the first; None for all.

    Raises:
        InputError: the data cannot be used, or is smaller than two batches, of which the first is not timed.
    """
    dataset = build_dataset("train", args)
    if not isinstance(dataset, CocoDetection) or dataset.masks:
        raise InputError("--bench: the yardstick loads photographs and boxes; leave --masks and panoptic data out")
    if len(dataset) < 2 * args.batch_size:
        raise InputError(
            f"{len(dataset)} photographs for training are fewer than two batches of {args.batch_size}; give a smaller "
            "--batch_size"
        )
    if most is None:
        return dataset
    images = dataset.annotations.images[: max(most, 2 * args.batch_size)]
    chosen = replace(dataset.annotations, images=images)
    return CocoDetection(dataset.folder, chosen, dataset.train, dataset.scale, dataset.seed)


def measure_dataset(dataset: CocoDetection, args: argparse.Namespace, rounds: int = ROUNDS) -> LoadingSpeed:
    """Measure both on a data set.

    Args:
        dataset: photographs, of two batches or more.
        args: options of a training program.
        rounds: how often, in turns.

    Raises:
        InputError: a photograph cannot be read any more.
    """
    from parity.frameworks.torchvision_loading import batches

    ours, upstream = [], []
    for number in range(rounds):
        with Loader(dataset, args.batch_size, args.num_workers, shuffle=True, seed=args.seed) as loader:
            ours.append(_rate(len(images) for images, _ in loader.epoch(number)))
        upstream.append(_rate(batches(dataset, args.batch_size, args.num_workers)))
    return LoadingSpeed(statistics.median(ours), statistics.median(upstream), args.num_workers)


def _rate(counts: Iterable[int]) -> float:
    coming = iter(counts)
    next(coming, None)  # until it is here, processes start
    start = time.perf_counter()
    photographs = sum(coming)
    return photographs / (time.perf_counter() - start)
