"""What is measured in a process of its own: one package, one detector, one batch that stays the same."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from detr_common.memory import keep_freed_memory

Array = npt.NDArray[Any]
SIDES = ("detr_pt", "detr_jt", "plain")
# The modules whose calls are timed, by the name of the part; what is left of a forward pass is "rest".
MODULES = {"backbone": "backbone", "encoder": "transformer.encoder", "decoder": "transformer.decoder"}
OBJECTS = 8


def batch(size: tuple[int, int], images: int, classes: int) -> tuple[list[Array], list[dict[str, Array]]]:
    """Return images float32 [3, H, W] of noise, and eight objects in each."""
    generator = np.random.default_rng(0)
    pictures = [generator.standard_normal((3, *size), dtype=np.float32) for _ in range(images)]
    targets: list[dict[str, Array]] = [
        {
            "labels": generator.integers(0, classes, OBJECTS),
            "boxes": generator.uniform(0.2, 0.5, (OBJECTS, 4)).astype(np.float32),
        }
        for _ in range(images)
    ]
    return pictures, targets


class Package:
    """detr_pt or detr_jt, in training as its own program trains.

    Args:
        name: of the package.
        args: options of the detector and its training.
        size: height and width of the images.
    """

    def __init__(self, name: str, args: argparse.Namespace, size: tuple[int, int]) -> None:
        self.package = import_module(name)
        self.engine = import_module(f"{name}.engine")
        self.optimization = import_module(f"{name}.optimizer")
        self.args = args
        self.model, self.criterion, _ = self.package.build_model(args)
        self.optimizer = self.optimization.build_optimizer(self.model, args)
        self.images, self.targets = batch(size, args.batch_size, self.criterion.num_classes)
        framework = import_module("jittor" if name == "detr_jt" else "torch")
        self.no_grad: Callable[[], Any] = framework.no_grad
        self.sync: Callable[[], object] = lambda: None
        if name == "detr_jt":
            self.sync = lambda: framework.sync_all(True)
        elif args.device == "cuda":
            self.sync = framework.cuda.synchronize

    def training(self, training: bool) -> None:
        """Turn training on or off."""
        for module in (self.model, self.criterion):
            self.engine.set_training(module, training)

    def step(self) -> None:
        """Take a whole step, as ``train_step`` of the package does."""
        one = self.model, self.criterion, self.optimizer, self.images, self.targets
        self.engine.train_step(*one, self.args.clip_max_norm)
        self.sync()

    def forward(self) -> None:
        """Run the detector without its losses and without gradients."""
        with self.no_grad():
            outputs = self.model(self.engine.to_samples(self.model, self.images))
            self.sync()
            del outputs  # what nobody holds, Jittor would not compute

    def pieces(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Return the pieces of a step, in their order."""
        held: dict[str, Any] = {}
        samples = self.engine.to_samples(self.model, self.images)

        def forward() -> None:
            held["total"] = self.engine.forward(self.model, self.criterion, samples, self.targets)[2]

        yield "forward", forward
        yield "backward", lambda: self.optimization.backward(self.optimizer, held["total"])
        yield "clip", lambda: float(self.optimization.clip_grad_norm(self.optimizer, self.args.clip_max_norm))
        yield "update", self.optimizer.step

    def parts(self) -> dict[str, float]:
        """Return the seconds of each part of a step, each waited for."""
        seconds: dict[str, float] = {}
        with self.timed_modules(seconds):
            for name, piece in self.pieces():
                self.sync()
                start = time.perf_counter()
                piece()
                self.sync()
                seconds[name] = time.perf_counter() - start
        forward = seconds.pop("forward")
        seconds["rest of forward"] = forward - sum(seconds[name] for name in (*MODULES, "losses"))
        return seconds

    def operations(self) -> int:
        """Take a step of detr_pt and return its floating-point operations.

        Those of matrix products and convolutions, forward and backward, as PyTorch carries them out; an addition and a
        multiplication are two. What is done element by element (norms, softmax, dropout, losses, the update) and the
        matching are not counted.
        """
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self.step()
        return int(counter.get_total_flops())

    @contextmanager
    def timed_modules(self, seconds: dict[str, float]) -> Iterator[None]:
        """Time the calls of the modules of ``MODULES`` and of the criterion."""
        method = "execute" if self.package.__name__ == "detr_jt" else "forward"
        modules = {name: _child(self.model, path) for name, path in MODULES.items()} | {"losses": self.criterion}

        def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def measured(*args: Any, **kwargs: Any) -> Any:
                self.sync()
                start = time.perf_counter()
                result = call(*args, **kwargs)
                self.sync()
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
                return result

            return measured

        for name, module in modules.items():
            setattr(module, method, timed(name, getattr(module, method)))
        try:
            yield
        finally:
            for module in modules.values():
                delattr(module, method)


def _child(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


class Plain(Package):
    """``parity.bench.plain``, trained by a loop as it is usually written."""

    def __init__(self, name: str, args: argparse.Namespace, size: tuple[int, int]) -> None:
        super().__init__("detr_pt", args, size)
        import torch

        from parity.bench.plain import PlainCriterion, plain_model

        self.model = plain_model(args).to(args.device)
        self.criterion = PlainCriterion(args, self.criterion.num_classes).to(args.device)
        trained = [(key, p) for key, p in self.model.named_parameters() if p.requires_grad]
        groups = [
            {"params": [p for key, p in trained if "backbone" not in key]},
            {"params": [p for key, p in trained if "backbone" in key], "lr": args.lr_backbone},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=args.lr, weight_decay=args.weight_decay)

    def training(self, training: bool) -> None:
        """Turn training on or off."""
        self.model.train(training)

    def step(self) -> None:
        """Take a whole step."""
        for _, piece in self.pieces():
            piece()
        self.sync()

    def pieces(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Return the pieces of a step, in their order."""
        import torch

        held: dict[str, Any] = {}
        device = self.args.device
        samples = [torch.from_numpy(image).to(device) for image in self.images]
        targets = [{key: torch.from_numpy(v).to(device) for key, v in target.items()} for target in self.targets]

        def forward() -> None:
            losses = self.criterion(self.model(samples), targets)
            held["total"] = self.criterion.total(losses)
            held["values"] = {name: value.item() for name, value in losses.items()}

        def backward() -> None:
            self.optimizer.zero_grad()
            held["total"].backward()

        yield "forward", forward
        yield "backward", backward
        yield "clip", lambda: torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.args.clip_max_norm)
        yield "update", self.optimizer.step


def build(side: str, args: Mapping[str, Any], size: tuple[int, int]) -> Package:
    """Return what one of ``SIDES`` measures."""
    if side != "plain":
        keep_freed_memory()  # as the programs of both packages do
    kind = Plain if side == "plain" else Package
    return kind(side, argparse.Namespace(**args), size)
