"""Train and evaluate by turns without learning: ``python observe_modes.py PACKAGE FILE`` writes the losses to FILE."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np

import fixtures
from detr_common.options import default_args
from detr_common.run import Means

# Without a rate nothing is learnt, so only the masks of dropouts are between one pass and another.
ARGS = default_args(
    backbone="resnet18", enc_layers=1, dec_layers=1, hidden_dim=32, nheads=4, dim_feedforward=64, num_queries=10,
    dropout=0.2, lr=0.0, lr_backbone=0.0,
)  # fmt: skip
SEEDS = [3, 4]


def observe(package: str) -> dict[str, list[float]]:
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
    return {**seen, "nothing dropped": train(SEEDS)}


if __name__ == "__main__":
    importlib.import_module(sys.argv[1])
    Path(sys.argv[2]).write_text(json.dumps(observe(sys.argv[1])))
