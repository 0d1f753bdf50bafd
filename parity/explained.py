"""What a finding of the steps rung says beyond a size: whose it is, which names differ, what is known of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parity.capture import ROOT
from parity.frameworks.training import NAMES_APART
from parity.trace import Array, Entry

# Names of parameters that are listed.
LISTED = 10

ULPS_APART = "units in the last place apart"

# What the forward pass moves in training, and no optimizer does.
VARIANCE = ".running_var"
_STATISTICS = (VARIANCE, ".running_mean")

# Of so few channels any two variances would fit.
_FEWEST = 3


def owner_of(name: str, owner: str) -> str:
    """Return what moved a tensor of the state: the module of a running statistic, else ``owner``.

    Args:
        name: of the tensor, ``step0/param/...``.
        owner: what is to blame for others.
    """
    label = f".{name.split('/', 2)[-1]}"
    if not label.endswith(_STATISTICS):
        return owner
    return label.rpartition(".")[0].removeprefix(".") or ROOT


def other_parameters(port: Entry, truth: Entry) -> str:
    """Say which parameters take a gradient on one side only; nothing where none does.

    Args:
        port: norms of all gradients and of each, with the names of their parameters (``Training.clip``).
        truth: the reference's, likewise.
    """
    own, theirs = (entry.inputs.split(NAMES_APART) if entry.inputs else [] for entry in (port, truth))
    if port.array.shape == truth.array.shape and own == theirs:
        return ""
    # The first number is the norm of all of them.
    counts = f"{truth.array.size - 1} parameters take a gradient in PyTorch and {port.array.size - 1} in Jittor"
    # Both are needed, since names that are too many are not sent.
    if not (own and theirs):
        return counts
    only = {"PyTorch": sorted(set(theirs) - set(own)), "Jittor": sorted(set(own) - set(theirs))}
    return "; ".join([counts, *(f"only in {side}: {_first(names)}" for side, names in only.items() if names)])


def _first(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def of_rates(name: str, port: Array, truth: Array) -> str:
    """Say which learning rates differ, and from which epoch on; empty for what is none, or where none differs.

    Args:
        name: of the tensor; ``rates`` are of one epoch after another, [epochs, groups], ``lr`` of one step, [groups].
        port: the port's.
        truth: the reference's.
    """
    kind = name.rpartition("/")[2]
    if kind not in ("rates", "lr"):
        return ""
    if port.shape[-1:] != truth.shape[-1:]:
        return f"there are {truth.shape[-1]} groups in PyTorch and {port.shape[-1]} in Jittor"
    for epoch, (theirs, own) in enumerate(zip(np.atleast_2d(truth), np.atleast_2d(port), strict=False)):
        if not np.array_equal(theirs, own):
            rates = (", ".join(f"{rate:.6g}" for rate in side) for side in (theirs, own))
            when = f"epoch {epoch} of the schedule: " if kind == "rates" else ""
            return when + "the learning rate is {} in PyTorch and {} in Jittor".format(*rates)
    return ""


def of_variance(port: Array, truth: Array, before: Array | None) -> str:
    """Say of a running variance that is wrong that it is only the biased one, if it is; see ``biased_of``."""
    count = biased_of(port, truth, before)
    if count is None:
        return ""
    return (
        f"; it is (n - 1) / n of PyTorch's with n = {count:.0f}: the biased variance, which Jittor's batch norm keeps "
        "(gotcha batch-norm-variance)"
    )


def biased_of(port: Array, truth: Array, before: Array | None) -> float | None:
    """Return of how many values a running variance is the biased one, if that explains it.

    With the momentum m, the port has ``(1 - m) before + m v`` and PyTorch ``(1 - m) before + m v n / (n - 1)``. So
    over the channels the port's is ``a`` of PyTorch's and a share of what was there before, where ``a`` is
    ``(n - 1) / n``, whatever m is.

    Args:
        port: [channels], after the first step.
        truth: the reference's, likewise.
        before: what both had before the step; None takes it to be the same for all channels, as it is in a new model.

    Returns:
        n, which may be a little off a whole number, or None.
    """
    if port.shape != truth.shape or port.ndim != 1 or port.size < _FEWEST:
        return None
    given = np.ones_like(truth) if before is None else before
    if given.shape != truth.shape or not all(np.isfinite(array).all() for array in (port, truth, given)):
        return None
    parts = np.stack([truth, given], axis=1)
    (share, rest), *_ = np.linalg.lstsq(parts, port, rcond=None)
    left = np.abs(parts @ np.array([share, rest]) - port).max()
    apart = np.abs(port - truth).max()
    if not 0.4 < share < 1 or left > 1e-4 * apart:
        return None
    count = 1 / (1 - float(share))
    return count if abs(count - round(count)) <= 0.01 * count else None
