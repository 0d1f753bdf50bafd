"""Train a small detector in float64 in either package, from the beginning or from a checkpoint.

``python train_small.py FOLDER STOP STEPS`` does it in Jittor: a run that never stops, which leaves ``jittor.pkl`` after
STOP steps, and a run that goes on from ``from_torch.pkl``; the weights of both at the end are put in FOLDER.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fixtures
import weight_convert
from detr_common.options import default_args

ARGS = default_args(
    backbone="resnet18", enc_layers=1, dec_layers=2, hidden_dim=32, nheads=4, dim_feedforward=64, num_queries=10,
    dropout=0.0, dtype="float64", lr_drop=4, lr=1e-4, lr_backbone=1e-5,
)  # fmt: skip
SIZE = 64


class Run:
    """A training run; one epoch is one step, so that the schedule drops the rates on the way.

    Attributes:
        package: "detr_pt" or "detr_jt".
        losses: of every step since the run began or went on.
    """

    def __init__(self, package: str, saved: dict[str, Any] | None = None) -> None:
        """Begin with the seeded weights, or where ``saved`` was: a checkpoint as the framework reads it."""
        self.package = package
        self.optim = importlib.import_module(f"{package}.optimizer")
        self.criterion = importlib.import_module(f"{package}.criterion")
        self.model, self.loss, _ = importlib.import_module(f"{package}.detr").build_model(ARGS)
        self.model.train()
        self.epoch, weights = 0, fixtures.state_dict(ARGS)
        self.optimizer = self.optim.build_optimizer(self.model, ARGS)
        self.scheduler = self.optim.build_scheduler(self.optimizer, ARGS)
        if saved is not None:
            weights, self.epoch = saved["model"], saved["epoch"]
            self.optimizer.load_state_dict(saved["optimizer"])
            self.scheduler.load_state_dict(saved["lr_scheduler"])
        self.set_weights(weights)
        images, targets = fixtures.training_batch(SIZE)
        self.images = [self.tensor(image.astype(np.float64)) for image in images]
        self.targets = [
            {"labels": self.tensor(one["labels"]), "boxes": self.tensor(one["boxes"].astype(np.float64))}
            for one in targets
        ]
        self.losses: list[float] = []

    def tensor(self, values: Any) -> Any:
        """A tensor of the framework, of the array's dtype."""
        values = np.asarray(values)
        if self.package == "detr_pt":
            import torch

            return torch.from_numpy(values.copy())
        import jittor as jt

        return jt.array(values, dtype=str(values.dtype))

    def set_weights(self, weights: dict[str, Any]) -> None:
        """Put the values of a state dict in the model, in float64."""
        state = self.model.state_dict()
        assert list(state) == list(weights)
        for name, target in state.items():
            value = self.tensor(np.asarray(weights[name]).astype(np.float64))
            target.copy_(value) if self.package == "detr_pt" else target.update(value)

    def total_loss(self) -> Any:
        """The weighted loss of the batch, a scalar of the framework."""
        losses = self.loss(self.model(self.images), self.targets)
        return self.criterion.total_loss(losses, self.loss.weight_dict)

    def go_on(self, until: int) -> "Run":
        """Train until so many steps have been made since the very beginning."""
        while self.epoch < until:
            total = self.total_loss()
            self.optim.backward(self.optimizer, total)
            self.optim.clip_grad_norm(self.optimizer, ARGS.clip_max_norm)
            self.optimizer.step()
            self.scheduler.step()
            self.losses.append(float(total.item()))
            self.epoch += 1
        return self

    def weights(self) -> dict[str, Any]:
        """A copy of the state dict as arrays."""
        state = self.model.state_dict()
        return {
            name: np.array(v.numpy() if self.package == "detr_jt" else v.detach().numpy()) for name, v in state.items()
        }

    def checkpoint(self, model: dict[str, Any]) -> dict[str, Any]:
        """What upstream saves; ``model`` is the state dict as the framework saves it."""
        return {
            "model": model,
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.scheduler.state_dict(),
            "epoch": self.epoch,
            "args": ARGS,
        }


def main(folder: Path, stop: int, steps: int) -> None:
    """Run Jittor's part."""
    import detr_jt  # noqa: F401  (readies Jittor)

    run = Run("detr_jt").go_on(stop)
    weight_convert.write(run.checkpoint(run.weights()), folder / "jittor.pkl")
    np.savez(folder / "jittor_whole.npz", losses=run.go_on(steps).losses, **run.weights())
    run = Run("detr_jt", weight_convert.read(folder / "from_torch.pkl"))
    np.savez(folder / "jittor_went_on.npz", losses=run.go_on(steps).losses, **run.weights())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
