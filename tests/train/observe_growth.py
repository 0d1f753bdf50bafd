"""Prints the resident memory, in MB, 500 steps before the end of a training and at its end: ``PACKAGE STEPS``.

Each is the mean of forty steps: from one to the next it moves by a hundredth up and down, as targets grow and shrink.
"""

import importlib
import sys
from pathlib import Path
from statistics import mean

from detr_common.options import training_args
from parity.bench.sides import batch

APART, OF = 500, 40


def resident() -> float:
    """Return the memory that the process holds now, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main(package: str, steps: int) -> None:
    detr, engine, optim = (importlib.import_module(f"{package}.{name}") for name in ("detr", "engine", "optimizer"))
    args = training_args(backbone="resnet18", enc_layers=2, dec_layers=2, num_queries=20)
    model, criterion, _ = detr.build_model(args)
    optimizer = optim.build_optimizer(model, args)
    for module in (model, criterion):
        engine.set_training(module, True)
    images, targets = batch((96, 96), 2, criterion.num_classes)
    held: list[float] = []
    for step in range(steps):
        # Targets of several numbers, as in a training; images of one size, so that no more is ever needed.
        some = [{key: value[: 1 + (step + i) % 8] for key, value in one.items()} for i, one in enumerate(targets)]
        engine.train_step(model, criterion, optimizer, images, some, 0.1)
        held.append(resident())
    print(mean(held[-APART - OF : -APART]), mean(held[-OF:]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
