"""The verdict of the steps rung."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from parity.policy import Steps


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be.

    Attributes:
        name: of the tensor, ``step0/...``.
        owner: what computed it: ``optimizer``, ``clip_grad_norm``, ``schedule``, ``criterion`` or ``training``.
        problem: in words.
        excess: how many times the bound.
        run: "forced" or "free".
    """

    name: str
    owner: str
    problem: str
    excess: float
    run: str = ""


@dataclass(frozen=True)
class FreeStep:
    """One step of the free run.

    Attributes:
        number: from 0.
        loss: total loss of PyTorch's float64 run.
        error64: largest error of a tensor of the port's float64 run, as a fraction of its scale; None where
            that was not run.
        distance: of the parameters of the port's float32 run from PyTorch's, as a fraction of their norm.
        envelope: the largest such distance of a twin so far.
        loss_distance: of the total losses, likewise.
        loss_envelope: likewise.
    """

    number: int
    loss: float
    error64: float | None
    distance: float
    envelope: float
    loss_distance: float
    loss_envelope: float

    @property
    def ratio(self) -> float:
        """Distance over envelope."""
        return self.distance / self.envelope

    @property
    def loss_ratio(self) -> float:
        """The same of the losses."""
        return self.loss_distance / self.loss_envelope


@dataclass(frozen=True)
class StepsVerdict:
    """Truthy if both trainings agree.

    Attributes:
        findings: what is wrong, in the order in which it came up.
        crashes: tracebacks of models that raised.
        missing: of ``forced`` and ``free`` what was asked for and compared nothing.
        counts: tensors compared in each.
        ulps: by dtype and kind of tensor, the largest difference for each step of the forced run.
        steps: of the free run.
        policy: what counts as agreement.
        settings: what was run.
        rung: its name.
        absolute: parameters of the free run that passed only because they are judged by no less than their learning
            rate, since they begin at zero and have no gradient by symmetry, so that they hold nothing but rounding; or
            by how far rounding moves one whose gradient is nothing else (``parity.moved_by_rounding``).
    """

    findings: tuple[Finding, ...]
    crashes: tuple[str, ...]
    missing: tuple[str, ...]
    counts: Mapping[str, int]
    ulps: Mapping[str, Mapping[str, float]]
    steps: tuple[FreeStep, ...]
    policy: Steps
    settings: dict[str, Any] = field(default_factory=dict)
    rung: str = "steps"
    absolute: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.compared > 0 and not (self.findings or self.crashes or self.missing)

    @property
    def compared(self) -> int:
        """Number of tensors compared."""
        return sum(self.counts.values())

    @property
    def first_divergence(self) -> Finding | None:
        """The first finding; its owner is what to look at."""
        return next(iter(self.findings), None)

    @property
    def reason(self) -> str:
        """Why it is no pass, in a line; empty for a pass."""
        first = self.first_divergence
        told = [*self.crashes, *(f"nothing was compared in the {kind} run" for kind in self.missing)]
        if first is not None:
            told.append(f"{first.name} ({first.owner}): {first.problem}")
        return "; ".join(told) or ("" if self else "nothing was compared")

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for ``--json``."""
        return {
            "rung": self.rung,
            "passed": bool(self),
            "compared": self.compared,
            "counts": dict(self.counts),
            "missing": list(self.missing),
            "crashes": list(self.crashes),
            "ulps_a_step": {dtype: dict(kinds) for dtype, kinds in self.ulps.items()},
            "steps": [{**asdict(s), "ratio": s.ratio, "loss_ratio": s.loss_ratio} for s in self.steps],
            "findings": [asdict(finding) for finding in self.findings],
            "policy": asdict(self.policy),
            "settings": self.settings,
            "absolute": list(self.absolute),
        }
