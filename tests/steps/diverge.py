"""Train a small detector until it diverges: ``python diverge.py PACKAGE FOLDER`` writes what was seen to FOLDER."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fixtures
import weight_convert
from detr_common.errors import NotFiniteError
from detr_common.options import default_args
from detr_common.run import Means

ARGS = default_args(
    backbone="resnet18", enc_layers=1, dec_layers=1, hidden_dim=32, nheads=4, dim_feedforward=64, num_queries=10,
    dropout=0.0,
)  # fmt: skip
SIZE = 64


class Trained:
    """A detector in training, its optimizer and the batch; two epochs are over and saved."""

    def __init__(self, package: str, folder: Path) -> None:
        modules = {name: importlib.import_module(f"{package}.{name}") for name in ("detr", "engine", "checkpoint")}
        optim = importlib.import_module(f"{package}.optimizer")
        self.engine, self.checkpoint = modules["engine"], modules["checkpoint"]
        self.package, self.folder = package, folder
        self.model, self.criterion, _ = modules["detr"].build_model(ARGS)
        self.optimizer = optim.build_optimizer(self.model, ARGS)
        self.scheduler = optim.build_scheduler(self.optimizer, ARGS)
        self.images, self.targets = fixtures.training_batch(SIZE)
        weights = fixtures.state_dict(ARGS)
        self.checkpoint.set_weights(self.model, weights, "fixtures")
        self.path = folder / f"{package}.pkl"

    def epoch(self, images: Any = None) -> dict[str, float]:
        """Train an epoch of two steps."""
        batches = [(images or self.images, self.targets)] * 2
        means = Means()
        self.engine.train_one_epoch(self.model, self.criterion, self.optimizer, batches, ARGS.clip_max_norm, means)
        self.scheduler.step()
        return means.values()

    def save(self, epoch: int) -> None:
        """Write the checkpoint."""
        self.checkpoint.save_checkpoint(self.path, self.model, self.optimizer, self.scheduler, epoch, ARGS)

    def weights(self) -> dict[str, Any]:
        """The state dict as arrays."""
        state = self.model.state_dict()
        return {k: np.array(v.numpy() if self.package == "detr_jt" else v.detach().numpy()) for k, v in state.items()}

    def set_weight(self, name: str, value: float) -> None:
        """Put a number in the first place of a weight."""
        weights = self.weights()
        weights[name].reshape(-1)[0] = value
        self.checkpoint.set_weights(self.model, weights, "")


def diverging(run: Trained, cause: str) -> None:
    """Let the next epoch diverge."""
    if cause == "image":
        images = [image.copy() for image in run.images]
        images[1][0, 3, 5] = np.nan
        run.epoch(images)
    elif cause == "overflow":
        run.set_weight("transformer.encoder.layers.0.linear1.weight", 3e38)
        run.set_weight("transformer.encoder.layers.0.norm1.bias", 3e38)
        run.epoch()
    elif cause == "weight":
        run.set_weight("transformer.decoder.layers.0.norm2.weight", np.nan)
        run.epoch()
    else:
        # A loss that is finite and whose gradient is not, as that of a square root at 0.
        distance = run.criterion.boxes.l1
        call = "execute" if run.package == "detr_jt" else "forward"
        plain = getattr(distance, call)
        setattr(distance, call, lambda boxes, there: plain(boxes, there) + (boxes - boxes.detach()).sqrt().sum(-1))
        run.epoch()


def observe(package: str, folder: Path) -> dict[str, Any]:
    """Train, save, and diverge in each way."""
    run = Trained(package, folder)
    seen: dict[str, Any] = {"losses": [run.epoch() for _ in range(2)]}
    run.save(1)
    kept = run.path.read_bytes()
    saved = weight_convert.read(run.path)
    for cause in ("image", "overflow", "weight", "gradient"):
        again = Trained(package, folder)
        assert again.checkpoint.resume(run.path, again.model, again.optimizer, again.scheduler) == (2, Means())
        try:
            diverging(again, cause)
            seen[cause] = "no error"
        except NotFiniteError as error:
            seen[cause] = str(error)
        if cause in ("image", "gradient"):
            weights = again.weights()
            assert all(np.array_equal(weights[name], value) for name, value in saved["model"].items()), cause
            state = again.optimizer.state_dict()["state"][0]["exp_avg"]
            assert np.array_equal(np.asarray(state), saved["optimizer"]["state"][0]["exp_avg"]), cause
    assert run.path.read_bytes() == kept
    again = Trained(package, folder)
    again.checkpoint.resume(run.path, again.model, again.optimizer, again.scheduler)
    seen["went on"], seen["never stopped"] = again.epoch(), run.epoch()
    return seen


if __name__ == "__main__":
    importlib.import_module(sys.argv[1])
    Path(sys.argv[2], f"{sys.argv[1]}.json").write_text(json.dumps(observe(sys.argv[1], Path(sys.argv[2]))))
