"""Prints the most memory, in MB, that steps of training take: ``python observe_memory.py PACKAGE SIZE``."""

import importlib
import resource
import sys

import fixtures
from detr_common.options import training_args


def main(package: str, size: int) -> None:
    detr, engine, optim = (importlib.import_module(f"{package}.{name}") for name in ("detr", "engine", "optimizer"))
    args = training_args(masks=True)
    model, criterion, _ = detr.build_model(args)
    optimizer = optim.build_optimizer(model, args)
    images, targets = (part[:2] for part in fixtures.training_batch(size))
    for module in (model, criterion):
        engine.set_training(module, True)
    for _ in range(4):
        engine.train_step(model, criterion, optimizer, images, targets, 0.1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
