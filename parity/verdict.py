"""The result of a comparison: truthy or falsy, with its evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from parity.metrics import Error
from parity.policy import Calibrated32, Exact64


@dataclass(frozen=True)
class Judgement:
    """One tensor, judged.

    Attributes:
        name: its name in the trace.
        owner: the module whose code computed it, in the port.
        source: file and line of that code.
        shape: its shape in the reference.
        error64: of the port's float64 run against the reference's; None if it could not be measured, or was not run.
        ratio: float32 norm of error over the reference's own; None likewise.
        ratio_max: the same for the largest element.
        problems: what is wrong, in words; empty if nothing is.
        worst: where and how far the worst element is off, if something is wrong.
        absolute: whether it is zero by symmetry, and passed because both sides are as near to zero as rounding allows.
        floats: float32 errors of the port and of the reference; None likewise.
        side: "both", or "missing" in the port, "unexpected" in the port, "uneven" if in one precision only.
        evidence: of the first failures, how their errors are spread (``parity.evidence.look``); else None.
    """

    name: str
    owner: str
    source: str
    shape: tuple[int, ...]
    error64: Error | None
    ratio: float | None
    ratio_max: float | None
    problems: tuple[str, ...] = ()
    worst: str = ""
    side: str = "both"
    absolute: bool = False
    floats: tuple[Error, Error] | None = None
    evidence: dict[str, Any] | None = None

    def __bool__(self) -> bool:
        return not self.problems

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def _in_short(crash: str, longest: int = 200) -> str:
    """Return where a traceback comes from and what was raised."""
    lines = [line for line in crash.splitlines() if line.strip()]
    if len(lines) == 1:
        return crash[:longest]
    raised = next((line for line in reversed(lines) if line[:1].isalpha() and "Error" in line.split(":")[0]), lines[-1])
    return f"{lines[0].split(':')[0]}: {raised}"[:longest]


@dataclass(frozen=True)
class LayersVerdict:
    """The verdict of a rung that compares tensor by tensor.

    Attributes:
        judgements: all tensors, in the port's execution order; those that not all runs have are failures.
        idle: modules without submodules that never ran, or that only one side has.
        unexercised: masks that are the same everywhere, so that what they do is not tested.
        crashes: tracebacks of models that raised.
        modules: number of modules compared.
        exact: policy of the float64 comparison.
        calibrated: policy of the float32 comparison.
        settings: what was run, for the reader and for the manifest.
        rung: its name.
        doubled: tensors that a run sent twice, so that two modules seem to have one name; only the first is judged.
    """

    judgements: Sequence[Judgement]
    idle: Sequence[str]
    unexercised: Sequence[str]
    crashes: Sequence[str]
    modules: int
    exact: Exact64
    calibrated: Calibrated32
    settings: dict[str, Any] = field(default_factory=dict)
    rung: str = "layers"
    doubled: Sequence[str] = ()

    def __bool__(self) -> bool:
        gaps = self.idle or self.unexercised or self.doubled or self.crashes
        typical = self.typical_ratio <= self.calibrated.most
        return self.compared > 0 and not gaps and typical and all(self.judgements)

    @property
    def compared(self) -> int:
        """Number of tensors that all runs have and that were compared."""
        return sum(judgement.side == "both" for judgement in self.judgements)

    @property
    def missing(self) -> list[str]:
        """Names of tensors that only the reference has, or that a precision lacks."""
        return [j.name for j in self.judgements if j.side in ("missing", "uneven")]

    @property
    def unexpected(self) -> list[str]:
        """Names of tensors that only the port has."""
        return [j.name for j in self.judgements if j.side == "unexpected"]

    @property
    def absolute(self) -> list[str]:
        """Names of tensors that are zero by symmetry and were judged absolutely."""
        return [j.name for j in self.judgements if j.absolute]

    @property
    def failures(self) -> list[Judgement]:
        """Tensors that failed, in execution order."""
        return [judgement for judgement in self.judgements if not judgement]

    @property
    def first_divergence(self) -> Judgement | None:
        """The first tensor in execution order that failed; its owner is the module to look at."""
        return next(iter(self.failures), None)

    @property
    def reason(self) -> str:
        """Why it is no pass, in a line; empty for a pass."""
        first = self.first_divergence
        if self:
            return ""
        gaps = {
            "the model raised": [_in_short(crash) for crash in self.crashes],
            "modules that never ran": self.idle,
            "masks that are the same everywhere": self.unexercised,
            "tensors that came twice": self.doubled,
        }
        told = [f"{what}: {', '.join(names)}" for what, names in gaps.items() if names]
        if first is not None:
            told.append(f"{first.name} ({first.owner})")
        if not self.compared:
            told.append("nothing was compared")
        return "; ".join(told) or f"95 of 100 tensors within {self.typical_ratio:.3g}, above {self.calibrated.most:g}"

    @property
    def worst64(self) -> float:
        """Largest float64 error as a fraction of its tensor's scale."""
        errors = (self.exact.size(j.error64) for j in self.judgements if j.error64 and not j.absolute)
        return max(errors, default=0.0)

    @property
    def in_float64(self) -> bool:
        """Whether a tensor of the port's float64 run was measured."""
        return any(j.error64 is not None for j in self.judgements)

    @property
    def in_float32(self) -> bool:
        """Whether a tensor of the port's float32 run was measured."""
        return any(j.ratio is not None for j in self.judgements)

    @property
    def worst_ratio(self) -> float:
        """Largest float32 ratio of norms, of tensors that are not small."""
        return max((j.ratio for j in self.judgements if j.ratio is not None and not self.small(j)), default=0.0)

    @property
    def typical_ratio(self) -> float:
        """Float32 ratio of norms that 95 of 100 tensors keep."""
        ratios = sorted(j.ratio for j in self.judgements if j.ratio is not None and not j.absolute)
        return ratios[math.ceil(0.95 * len(ratios)) - 1] if ratios else 0.0

    @property
    def worst_ratio_max(self) -> float:
        """Largest float32 ratio of single elements, and of norms of small tensors."""
        elements = [j.ratio_max for j in self.judgements if j.ratio_max is not None]
        return max([*elements, self.worst_ratio_small], default=0.0)

    @property
    def worst_ratio_small(self) -> float:
        """Largest float32 ratio of norms of small tensors."""
        return max((j.ratio for j in self.judgements if j.ratio is not None and self.small(j)), default=0.0)

    def small(self, judgement: Judgement) -> bool:
        """Whether a tensor has so few elements that its norm is judged as single elements are."""
        return judgement.size < self.calibrated.few

    def worst_first(self) -> list[Judgement]:
        """Return the judgements, failed ones first, each group by its nearness to its bound."""

        def nearness(judgement: Judgement) -> tuple[bool, float]:
            judged = judgement.error64 is not None and not judgement.absolute
            exact = self.exact.size(judgement.error64) / self.exact.bound if judged and judgement.error64 else 0.0
            ratio = (judgement.ratio or 0.0) / self.calibrated.bound(judgement.size)
            return bool(judgement.problems), max(exact, ratio)

        return sorted(self.judgements, key=nearness, reverse=True)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for ``--json``."""
        first = self.first_divergence
        return {
            "rung": self.rung,
            "passed": bool(self),
            "compared": self.compared,
            "modules": self.modules,
            "missing": self.missing,
            "unexpected": self.unexpected,
            "absolute": self.absolute,
            "idle": list(self.idle),
            "unexercised": list(self.unexercised),
            "doubled": list(self.doubled),
            "crashes": list(self.crashes),
            "worst_float64": self.worst64,
            "typical_float32_ratio": self.typical_ratio,
            "worst_float32_ratio": self.worst_ratio,
            "worst_float32_ratio_max": self.worst_ratio_max,
            "policy": {"exact": asdict(self.exact), "calibrated": asdict(self.calibrated)},
            "first_divergence": None if first is None else first.name,
            "settings": self.settings,
            "tensors": [asdict(judgement) for judgement in self.judgements],
        }
