"""A worker: one process, one framework. Started by ``parity.client``; answers requests until its input ends.

The frameworks do not share a process because Jittor leaves flush-to-zero on for PyTorch and NumPy, reseeds their random
numbers, and brings a second OpenMP runtime.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from detr_common.coco import build_dataset
from detr_common.errors import InputError
from detr_common.loader import Loader
from detr_common.memory import importing, keep_freed_memory, keep_no_freed_memory
from parity.failures import traceback_of
from parity.frameworks import ADAPTERS, load_adapter
from parity.frameworks.base import Adapter
from parity.mutants.data import reading_with
from parity.nursery import nurse
from parity.runs.curves import STEPS
from parity.store import Place, Store
from parity.trace import Entry
from parity.wire import Array, Disconnected, receive, send


def main() -> None:
    """Serve requests from file descriptor ``--requests`` and answer on ``--answers``, or fork those that do."""
    parser = argparse.ArgumentParser()
    parser.add_argument("framework")
    parser.add_argument("--adapter", choices=ADAPTERS, default=ADAPTERS[0])
    parser.add_argument("--requests", type=int)
    parser.add_argument("--answers", type=int)
    parser.add_argument("--nursery", type=int)
    options = parser.parse_args()
    with importing():
        adapter = load_adapter(options.framework, options.adapter)
    if options.nursery is None:
        _begin(adapter, options.requests, options.answers)
    else:
        nurse(socket.socket(fileno=options.nursery), functools.partial(_begin, adapter))


def _begin(adapter: Adapter, requests: int, answers: int) -> None:
    with os.fdopen(requests, "rb", buffering=0) as reading, os.fdopen(answers, "wb", buffering=0) as writing:
        try:
            _serve(adapter, reading, writing)
        except (Disconnected, BrokenPipeError):
            return


def _serve(adapter: Adapter, requests: BinaryIO, answers: BinaryIO) -> None:
    send(answers, {"kind": "ready", "environment": adapter.environment()})
    while True:
        request, _ = receive(requests)
        arrays = {name: _array(receive(requests)) for name in request.get("arrays", ())}
        try:
            _answer(adapter, request, arrays, answers)
        except InputError as error:
            send(answers, {"kind": "refused", "message": str(error)})
        except Disconnected:
            raise
        except Exception as error:
            # Whatever a model under test raises is a finding for the comparing process to show, not a crash of its own.
            send(answers, {"kind": "failed", "message": traceback_of(error)})


def _answer(adapter: Adapter, request: dict[str, Any], arrays: dict[str, Array], answers: BinaryIO) -> None:
    if request["do"] == "build":
        weights = None if request["weights"] is None else Path(request["weights"])
        adapter.build(argparse.Namespace(**request["args"]), weights, request["twin"])
        if request["mutant"]:
            adapter.plant(request["mutant"])
        built = {
            "modules": adapter.modules(),
            "resting": adapter.resting(),
            "unused": adapter.unused(),
            "in_training": adapter.in_training(),
            "environment": adapter.environment(),
        }
        send(answers, {"kind": "built", **built})
        return

    with ExitStack() as stack:
        spool = _open_spool(request.get("spool"), stack)
        if spool is not None:
            # It computes while no other worker does, until it is told to give memory back.
            keep_freed_memory()

        def emit(entry: Any) -> None:
            fields = {name: getattr(entry, name) for name in ("name", "owner", "source", "caller", "inputs", "repeats")}
            header = {"kind": "entry", **fields}
            if spool is not None and entry.array.size and not entry.repeats:
                where = {"at": spool.append(entry.array), "shape": entry.array.shape, "dtype": str(entry.array.dtype)}
                send(answers, {**header, "stored": where})
            else:
                send(answers, header, None if entry.repeats else entry.array)

        start = time.perf_counter()
        try:
            results = perform(adapter, request, arrays, emit)
        except Exception as error:
            # What came until then is compared.
            _finish_after(error, spool)
            raise
        if spool is not None:
            spool.finish()
        seconds = time.perf_counter() - start
    for name, array in results.items():
        send(answers, {"kind": "result", "name": name}, array)
    send(answers, {"kind": "done", "seconds": seconds})


def _finish_after(error: Exception, spool: Store | None) -> None:
    try:
        if spool is not None:
            spool.finish()
    except InputError as lost:
        if isinstance(error, InputError):
            return
        raise InputError(f"{lost}; the model had raised {error!r} before") from error


def _open_spool(place: Any, stack: ExitStack) -> Store | None:
    """Open the file to which tensors are to be written; None if they go by the pipe."""
    if place:
        # Where it cannot be opened, the asking process writes them.
        with suppress(OSError):
            return stack.enter_context(Store(Place(*place)))
    return None


def perform(adapter: Adapter, request: dict[str, Any], arrays: dict[str, Array], emit: Any) -> dict[str, Array]:
    """Do what is asked for; tensors go through ``emit``, results are returned."""
    with adapter.arithmetic():
        return _perform(adapter, request, arrays, emit)


def _perform(adapter: Adapter, request: dict[str, Any], arrays: dict[str, Array], emit: Any) -> dict[str, Array]:
    match request["do"]:
        case "forward":
            return adapter.forward(arrays, emit if request["capture"] else None, request)
        case "operations":
            adapter.operations(arrays, emit)
        case "export":
            adapter.export(Path(request["path"]))
        case "choose":
            return adapter.training.choose(adapter.feed(arrays))
        case "losses":
            adapter.training.losses(adapter.feed(arrays), emit)
        case "gradients":
            adapter.training.gradients(adapter.feed(arrays), arrays, request["split"], emit)
            return adapter.training.told()
        case "data":
            with reading_with(request["mutant"]):
                _read_data(adapter, request, emit)
        case "train":
            _train(adapter, request, emit)
        case "prepare":
            adapter.training.prepare()
        case "release":
            adapter.release()
            keep_no_freed_memory()
        case "finish":
            adapter.training.finish()
        case "step":
            return adapter.training.step(request, adapter.feed(arrays), arrays, emit)
        case unknown:
            raise ValueError(f"no such request: {unknown}")
    return {}


def _train(adapter: Adapter, request: dict[str, Any], emit: Any) -> None:
    """Train as the package's program does; steps go to a file beside its logs, and are told of."""
    args = argparse.Namespace(**request["args"])
    with (Path(args.output_dir) / STEPS).open("a", encoding="utf8") as file:

        def note(epoch: int, step: int, values: dict[str, float]) -> None:
            file.write(json.dumps({"epoch": epoch, "step": step, **values}) + "\n")
            file.flush()
            emit(Entry(f"epoch{epoch}/step{step}", "training", "", np.array([epoch, step])))

        adapter.train(args, request["twin"], note)


def _read_data(adapter: Adapter, request: dict[str, Any], emit: Any) -> None:
    """Emit every array of every batch, padded as the framework pads."""
    args = argparse.Namespace(**request["args"])
    for part in request["parts"]:
        train = part == "train"
        dataset = build_dataset(part, args)
        with Loader(dataset, args.batch_size, args.num_workers, shuffle=train, seed=args.seed) as loader:
            for epoch in range(request["epochs"] if train else 1):
                for number, (images, targets) in enumerate(loader.epoch(epoch)):
                    prefix = f"{part}/epoch{epoch}/batch{number}"
                    arrays = adapter.pad(images)
                    for i, target in enumerate(targets):
                        arrays |= {f"{name}.{i}": value for name, value in target.items()}
                    for name, array in arrays.items():
                        emit(Entry(f"{prefix}/{name}", "data", "", array))


def _array(message: tuple[dict[str, Any], Array | None]) -> Array:
    array = message[1]
    if array is None:
        raise ValueError("an array was announced, but a message without one came")
    return array


if __name__ == "__main__":
    main()
