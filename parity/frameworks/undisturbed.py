"""A process in which both frameworks run, left as it was found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch  # first, since Jittor in one process with PyTorch has to come after it


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put back what Jittor changes in a process: random states, and numbers below 1e-38 being 0."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # Subnormal numbers are zero where the flag is on; there is no other way to ask for it.
    flushed = bool((torch.tensor([1e-40]) * 0.5 == 0).item())
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_flush_denormal(flushed)
