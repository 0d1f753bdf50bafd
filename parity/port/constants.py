"""Buffers that a port computes by itself, as tables of positions are: whether it begins with the right values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from parity.metrics import measure
from parity.port.job import PortJob
from parity.port.names import WeightsVerdict, is_ignored
from parity.wire import Array

Weights = Mapping[str, Array]

# Of the largest value. A float32 sine of an angle of some thousands is off by 6e-4 of it, however well it is computed.
NEAR = 1e-3
# What training moves begins as the framework has it, and is loaded.
_MOVED = ("running_mean", "running_var")


def with_constants(
    verdict: WeightsVerdict,
    job: PortJob,
    theirs: Weights,
    own: Weights,
    buffers: Sequence[str],
    redrawn: Callable[[], Weights],
) -> WeightsVerdict:
    """Add to a verdict the buffers with which the port begins otherwise than the reference.

    Args:
        verdict: of names and shapes, which match.
        job: what is compared; buffers that are in its ``ignore`` are left out.
        theirs: weights with which the reference begins.
        own: those with which the port begins, by the reference's names.
        buffers: names of the reference's.
        redrawn: gives the weights with which the reference begins from another seed. A buffer that is another then is
            drawn, and no port can draw the same.
    """
    ignored = [path for path in job.ignore if not path.endswith(".**")]
    unused = [path for path in verdict.unused if not (path in ignored and any(is_ignored(path, b) for b in buffers))]
    apart = {
        name: error
        for name in buffers
        if not name.endswith(_MOVED) and not any(is_ignored(path, name) for path in ignored)
        for error in [_error(own[name], theirs[name])]
        if not error <= NEAR
    }
    if apart and not job.reference.live:
        others = redrawn()
        apart = {name: error for name, error in apart.items() if np.array_equal(others[name], theirs[name])}
    return replace(verdict, unused=unused, constants=apart)


def _error(value: Array, truth: Array) -> float:
    return measure(value.astype(np.float64), truth.astype(np.float64)).relative
