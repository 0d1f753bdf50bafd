"""The comparing process's side of a worker."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from detr_common.errors import InputError
from parity.capture import RecentArrays
from parity.nursery import Nursery, forks
from parity.process import Process, WorkerError, environment
from parity.rungs import Run
from parity.store import place_of, stored
from parity.trace import Entry
from parity.wire import Array

# What an answer ends with.
_LAST = ("built", "done", "failed", "refused")


def _command(framework: str, python: str, adapter: str) -> list[str]:
    return [python, "-m", "parity.worker", framework, "--adapter", adapter]


class Starting:
    """Starts workers, those of PyTorch from one process that has imported it; use as a context manager.

    Args:
        adapter: see ``Worker``.
        pythons: interpreters by framework, where they are not this one.
    """

    def __init__(self, adapter: str = "detr", pythons: Mapping[str, str] | None = None) -> None:
        self._adapter = adapter
        self._pythons = pythons or {}
        self._stack = ExitStack()
        self._nurseries: dict[str, Nursery] = {}

    def __enter__(self) -> Starting:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, run: Run) -> Worker:
        """Start the worker of a run."""
        framework = run[0]
        python = self._pythons.get(framework, sys.executable)
        nursery = self._nurseries.get(framework)
        # One that has died would fail every worker to come.
        if forks(framework) and (nursery is None or not nursery.lives):
            nursery = Nursery(_command(framework, python, self._adapter), environment(None))
            self._nurseries[framework] = self._stack.enter_context(nursery)
        return Worker(framework, python=python, adapter=self._adapter, nursery=nursery)


class Worker(Process):
    """A process that holds one framework and, once built, one model.

    Use as a context manager; the process ends with the block.

    Args:
        framework: "torch" or "jittor".
        python: the interpreter, if the framework lives in another environment.
        threads: that it computes with; as many as there are processors if not given.
        adapter: "detr", or "port" for models that are built by functions of the user's (``parity.port``).
        nursery: which it is forked from, one of the same framework, interpreter and adapter.
    """

    # Bytes that may wait to be compared, while the worker goes on.
    ahead = 512 * 2**20

    # The file to which it is to write tensors, instead of sending them (``parity.store.Stored``).
    spool: BinaryIO | None = None

    # Requests whose answer has not been read to its end; what stands in for a process answers at once.
    owed = 0

    def __init__(
        self,
        framework: str,
        python: str = sys.executable,
        threads: int | None = None,
        adapter: str = "detr",
        nursery: Nursery | None = None,
    ) -> None:
        self.framework = framework
        self.modules: list[str] = []
        self.resting: list[str] = []
        self.unused: list[str] = []
        self.in_training: dict[str, dict[str, Any]] = {}
        self.environment: dict[str, str] = {}
        self.results: dict[str, Array] = {}
        self.seconds = 0.0
        self.failure = ""
        super().__init__(framework, _command(framework, python, adapter), threads, nursery)
        self._ready = self._pending = self._spent = False
        self._built: tuple[dict[str, Any], int] | None = None

    def build(self, args: argparse.Namespace, weights: Path | None, mutant: str = "", twin: int = 0) -> None:
        """Ask for a model, unless it is the one that stands; ``wait_built`` waits for it.

        Args:
            args: options of the detector (``detr_common.options``).
            weights: the checkpoint to load; None where the model is built with its own.
            mutant: name of a fault to plant (``parity.mutants``), for Jittor only.
            twin: seed of a twin, which computes without oneDNN and cuDNN from weights moved by one ulp; PyTorch only.
        """
        self.label = f"{self.framework} {args.dtype}{f'-twin{twin}' if twin > 1 else '-twin' if twin else ''}"
        path = None if weights is None else str(weights)
        request = {"do": "build", "args": vars(args), "weights": path, "mutant": mutant, "twin": twin}
        stamp = weights.stat().st_mtime_ns if weights is not None and weights.exists() else 0
        if (request, stamp) != self._built:
            self._built = request, stamp
            self._pending = self._spent = True
            self.owed += 1
            self._send(request)

    def wait_built(self) -> None:
        """Wait until the model stands.

        Raises:
            InputError: the checkpoint or the options do not fit.
            WorkerError: the worker failed.
        """
        self.ready()
        if self._pending:
            self._pending = False
            try:
                header = self._expect("built")
            except (InputError, WorkerError):
                self._built = None
                raise
            self.modules, self.environment = header["modules"], header["environment"]
            self.resting, self.unused = header["resting"], header["unused"]
            self.in_training = header["in_training"]

    def ready(self) -> None:
        """Wait until the framework is imported.

        Raises:
            WorkerError: it cannot be.
        """
        if not self._ready:
            self._expect("ready")
            self._ready = True

    def start(
        self,
        images: Sequence[npt.NDArray[np.float32]],
        capture: bool,
        sizes: Sequence[Sequence[int]] = (),
        things: Mapping[int, bool] | None = None,
    ) -> None:
        """Start a forward pass on [3, H, W] images; read it with ``entries``.

        Args:
            images: float32.
            capture: whether tensors are wanted, beside the results.
            sizes: see ``parity.frameworks.base.Adapter.forward``.
            things: likewise.
        """
        arrays = {f"image.{i}": image for i, image in enumerate(images)}
        told = [[int(side) for side in size] for size in sizes]
        self.ask("forward", arrays, capture=capture, sizes=told, things=dict(things or {}))

    def ask(self, do: str, arrays: Mapping[str, Array], **details: Any) -> None:
        """Ask for a pass (``parity.frameworks.base.Adapter``); read the answer with ``entries``."""
        if do == "prepare":
            # The model that stands is trained from here on, so the next job needs a new one.
            self._built = None
        self.owed += 1
        self._spent = True
        spool = {} if self.spool is None else {"spool": list(place_of(self.spool))}
        self._send({"do": do, "arrays": list(arrays), **spool, **details})
        for array in arrays.values():
            self._send({}, array)

    def release(self) -> None:
        """Let the worker give back what memory its last pass left it with, as far as it can.

        Raises:
            WorkerError: it died.
        """
        if self._spent:
            results, failure, seconds = self.results, self.failure, self.seconds
            self.ask("release", {})
            for _ in self.entries():
                pass
            self.results, self.failure, self.seconds = results, failure, seconds
            self._spent = False

    def answer(self) -> dict[str, Array]:
        """Wait for a pass that emits nothing, and return its results.

        Raises:
            WorkerError: the model raised, or emitted something.
        """
        for entry in self.entries():
            raise WorkerError(f"{self.label}: emitted {entry.name} where only results were due")
        if self.failure:
            raise WorkerError(f"{self.label}: the model failed\n{self.failure}")
        return self.results

    def entries(self) -> Iterator[Entry]:
        """Yield the captured tensors as they come; afterwards ``results`` and ``seconds`` are set.

        Where the model raises, the tensors until then are yielded and ``failure`` is set to its traceback.
        """
        self.results, self.failure = {}, ""
        recent = RecentArrays()
        while True:
            header, array = self._receive()
            if header["kind"] == "entry":
                if header["repeats"]:
                    values = recent[header["repeats"]]
                elif array is None:
                    values = stored(header["stored"])
                else:
                    values = array
                recent.add(header["name"], values)
                name, owner, source = header["name"], header["owner"], header["source"]
                yield Entry(name, owner, source, values, header["caller"], header["inputs"], header["repeats"])
            elif header["kind"] == "result" and array is not None:
                self.results[header["name"]] = array
            elif header["kind"] == "done":
                self.seconds = header["seconds"]
                return
            elif header["kind"] == "failed":
                self.failure = header["message"]
                return

    def run(
        self,
        images: Sequence[npt.NDArray[np.float32]],
        sizes: Sequence[Sequence[int]] = (),
        things: Mapping[int, bool] | None = None,
    ) -> dict[str, Array]:
        """Run a plain forward pass and return its results; see ``start``."""
        self.start(images, capture=False, sizes=sizes, things=things)
        return self.answer()

    @property
    def usable(self) -> bool:
        """Whether the next answer will be that to the next request: the process lives, and owes no earlier one."""
        return not self.owed and self._process.poll() is None

    def _expect(self, kind: str) -> dict[str, Any]:
        header, _ = self._receive()
        if header["kind"] == "failed":
            raise WorkerError(f"{self.label}: the model failed\n{header['message']}")
        if header["kind"] != kind:
            raise WorkerError(f"{self.label}: answered {header['kind']} where {kind} was due")
        return header

    def _receive(self) -> tuple[dict[str, Any], Array | None]:
        header, array = self._answer()
        if header["kind"] in _LAST:
            self.owed -= 1
        if header["kind"] == "refused":
            raise InputError(header["message"])
        return header, array
