"""Several processes that train one model: ``torchrun --nproc_per_node 2 -m detr_pt``."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

from detr_common.errors import report


def available_device() -> str:
    """Return "cuda" where the framework can use a GPU, "cpu" elsewhere."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def joined() -> bool:
    """Whether there are others that this process has met."""
    return distributed.is_available() and distributed.is_initialized()


def join(device: str) -> None:
    """Meet the other processes that ``torchrun`` started, if it did.

    Args:
        device: "cpu", where they speak through gloo, or "cuda": each takes the GPU of its local rank, through NCCL.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or joined():
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")


@contextmanager
def together(device: str) -> Iterator[None]:
    """Run with the other processes; ``join`` them before, and part from them after.

    An error ends this process without waiting for the others, which ``torchrun`` then ends: they would wait for ever.
    """
    join(device)
    try:
        yield
    except BaseException as error:
        if world_size() > 1:
            os._exit(report(error))
        raise
    if joined():
        distributed.destroy_process_group()


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if joined() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if joined() else 1


def total(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; no gradient flows through it."""
    if world_size() == 1:
        return value
    summed = value.detach().clone()
    distributed.all_reduce(summed)
    return summed


def average(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes; no gradient flows through it."""
    return value if world_size() == 1 else total(value) / world_size()


def gather(value: Any) -> list[Any]:
    """Return what each process has, by rank; anything that can be pickled."""
    if world_size() == 1:
        return [value]
    found: list[Any] = [None] * world_size()
    distributed.all_gather_object(found, value)
    return found


def learner(model: nn.Module) -> nn.Module:
    """Return the model in a form whose backward pass averages gradients over processes; it is the same model."""
    return nn.parallel.DistributedDataParallel(model) if world_size() > 1 else model


def bare(model: nn.Module) -> nn.Module:
    """Return the model that ``learner`` was given."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
