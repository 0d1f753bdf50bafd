"""Train and evaluate by turns without learning: ``python observe_modes.py PACKAGE FILE`` writes the losses to FILE."""

import importlib
import json
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import fixtures
from detr_common.options import default_args, training_args
from detr_common.run import Means

# Without a rate nothing is learnt, so only the masks of dropouts are between one pass and another.
ARGS = default_args(
    backbone="resnet18", enc_layers=1, dec_layers=1, hidden_dim=32, nheads=4, dim_feedforward=64, num_queries=10,
    dropout=0.2, lr=0.0, lr_backbone=0.0,
)  # fmt: skip
SEEDS = [3, 4]


def observe(package: str) -> dict[str, Any]:
    """Return the losses of each part, in the order of the parts."""
    detr, engine, optim, checkpoint = (
        importlib.import_module(f"{package}.{name}") for name in ("detr", "engine", "optimizer", "checkpoint")
    )
    model, criterion, postprocess = detr.build_model(ARGS)
    checkpoint.set_weights(model, fixtures.state_dict(ARGS), "fixtures")
    optimizer = optim.build_optimizer(model, ARGS)
    images, targets = fixtures.training_batch(64)
    sizes = [np.array(image.shape[1:]) for image in images]
    told = [
        {**t, "image_id": np.array([i]), "orig_size": s, "size": s}
        for i, (t, s) in enumerate(zip(targets, sizes, strict=True))
    ]

    def train(seeds: list[int] | None) -> list[float]:
        losses: list[float] = []

        def after_step(values: dict[str, float]) -> bool:
            losses.append(values["loss"])
            return True

        batches = [(images, targets)] * len(SEEDS)
        engine.train_one_epoch(model, criterion, optimizer, batches, 0.1, Means(), seeds, after_step)
        return losses

    def evaluate() -> list[float]:
        means, _ = engine.evaluate(model, criterion, postprocess, [(images, told)])
        return [means.values()["loss"]]

    seen = {"first": train(SEEDS), "evaluated": evaluate(), "second": train(SEEDS)}
    seen |= {"evaluated again": evaluate(), "unseeded": train(None)}
    for module in model.modules():
        if type(module).__name__ == "Dropout":
            module.p = 0.0
    return {**seen, "nothing dropped": train(SEEDS), **observe_trainer(package, model)}


def observe_trainer(package: str, model: Any) -> dict[str, Any]:
    """Return the seeds of three steps of each of two epochs, and the rate after each of five epochs, as it trains."""
    main, optim = (importlib.import_module(f"{package}.{name}") for name in ("__main__", "optimizer"))
    args = training_args(lr=0.1, lr_drop=2, epochs=5, eval_every=0)
    optimizer = optim.build_optimizer(model, args)
    schedule = optim.build_scheduler(optimizer, args)
    seeds: list[list[int]] = []
    main.train_one_epoch = lambda *given: seeds.append(list(islice(given[6], 3)))
    batches = SimpleNamespace(indices=lambda epoch: range(3), epoch=lambda epoch, first: [])
    trainer = SimpleNamespace(
        args=args, epoch=0, means=Means(), optimizer=optimizer, lr_scheduler=schedule, output=None,
        learner=model, criterion=None, on_step=None, stopped=None, save=lambda *_: None,
    )  # fmt: skip
    rates = []
    for _ in range(args.epochs):
        main.Trainer.train_epoch(trainer, batches, [])
        trainer.means.add({"loss": 1.0})
        main.Trainer.finish_epoch(trainer, None, None)
        rates.append(optimizer.param_groups[0]["lr"])
    return {"seeds": seeds[:2], "rates": rates}


if __name__ == "__main__":
    importlib.import_module(sys.argv[1])
    Path(sys.argv[2]).write_text(json.dumps(observe(sys.argv[1])))
