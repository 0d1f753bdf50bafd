"""Several processes that train one model: ``mpirun -np 2 python -m detr_jt``."""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jittor as jt
import numpy as np
from jittor import Var, nn

from detr_common.errors import InputError, report
from detr_jt.layers import constant


def available_device() -> str:
    """Return "cuda" where the framework can use a GPU, "cpu" elsewhere."""
    return "cuda" if jt.get_device_count() else "cpu"


def joined() -> bool:
    """Whether there are others that this process has met."""
    return bool(jt.in_mpi)


def join(device: str) -> None:
    """See that the processes that ``mpirun`` started have met, which Jittor does when it is imported.

    Args:
        device: as in detr_pt; Jittor has chosen it.

    Raises:
        InputError: they have not, since Jittor was built without MPI.
    """
    started = int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))
    if started != world_size():
        raise InputError(
            f"mpirun started {started} processes, but Jittor was built without MPI; install Open MPI with its headers "
            "(Debian: apt install openmpi-bin libopenmpi-dev), so that mpicc is found"
        )


@contextmanager
def together(device: str) -> Iterator[None]:
    """Run with the other processes; ``join`` them before. Jittor parts from them when Python ends.

    An error ends this process without waiting for the others, which ``mpirun`` then ends: they would wait for ever.
    """
    join(device)
    try:
        yield
    except BaseException as error:
        if world_size() > 1:
            os._exit(report(error))
        raise


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(jt.rank)


def world_size() -> int:
    """Return the number of processes."""
    return int(jt.world_size)


def total(value: Var) -> Var:
    """Return the sum of a float Var over all processes; no gradient flows through it."""
    return value if world_size() == 1 else value.detach().mpi_all_reduce("add")


def average(value: Var) -> Var:
    """Return the mean of a float Var over all processes; no gradient flows through it."""
    return value if world_size() == 1 else total(value) / constant(world_size(), value)


def gather(value: Any) -> list[Any]:
    """Return what each process has, by rank; anything that can be pickled."""
    if world_size() == 1:
        return [value]
    found = []
    for root in range(world_size()):
        mine = np.frombuffer(pickle.dumps(value), np.uint8).copy()
        size = np.array([len(mine)], np.int64)
        jt.mpi.broadcast(size, root)
        data = mine if root == rank() else np.zeros(int(size[0]), np.uint8)
        jt.mpi.broadcast(data, root)
        found.append(pickle.loads(data.tobytes()))
    return found


def learner(model: nn.Module) -> nn.Module:
    """Return the model, after all have the weights of the first; it is the optimizer that averages gradients."""
    model.mpi_param_broadcast()
    return model


def bare(model: nn.Module) -> nn.Module:
    """Return the model that ``learner`` was given."""
    return model
