"""Rungs of the ladder that compare tensor by tensor, in five runs: two frameworks in two precisions, and a twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from parity.frameworks.base import CRITERION, POSTPROCESSORS
from parity.policy import Calibrated32, Exact64

# A run is a framework and an arithmetic: a dtype, or the float32 of PyTorch's twin.
Run = tuple[str, str]

REFERENCE, PORT = "torch", "jittor"
TRUTH = (REFERENCE, "float64")
TWIN = (REFERENCE, "float32-twin")
SECOND_TWIN = (REFERENCE, "float32-twin2")
TWINS = (TWIN, SECOND_TWIN)
TWIN_SEEDS = {"float32-twin": 1, "float32-twin2": 2}
RUNS = (TRUTH, (PORT, "float64"), (REFERENCE, "float32"), TWIN, (PORT, "float32"))

# The runs of a comparison in both precisions, or in one: PyTorch's float64 run is the truth of either.
RUNS_OF = {
    "both": RUNS,
    "float64": RUNS[:2],
    "float32": tuple(run for run in RUNS if run != (PORT, "float64")),
}


def device_of(arithmetic: str, device: str) -> str:
    """Return where a run computes: float64 on the CPU always, float32 where it was asked for.

    On CUDA Jittor 1.3.11 multiplies no float64 matrices (it asks cuBLAS for float32 sums) and its process ends at the
    first float64 convolution (it has no name of that dtype for cuDNN). The truth needs no GPU.

    Args:
        arithmetic: of the run, as in `Run`.
        device: "cpu" or "cuda".
    """
    return "cpu" if arithmetic == "float64" else device


def foremost(framework: str, runs: Iterable[Run]) -> Run:
    """Return the run that speaks for a framework: that in float64 where there is one."""
    there = set(runs)
    return next(run for run in RUNS if run[0] == framework and run in there)


def _in_all(name: str) -> tuple[Run, ...]:
    return RUNS


def _of_layers(name: str) -> tuple[Run, ...]:
    # Where two masks are nearly alike, rounding decides whose a pixel is, and then how large the segments are.
    return RUNS[:2] if name.startswith(f"forward/{POSTPROCESSORS['panoptic']}") else RUNS


def _in_float64(name: str) -> tuple[Run, ...]:
    # Aliases part operations that float32 runs as one kernel, so what flows through one module is seen in float64 only.
    return RUNS[:2] if name.startswith("gradin/") else RUNS


@dataclass(frozen=True)
class Rung:
    """How a rung judges.

    Attributes:
        name: of the rung.
        exact: policy of the float64 comparison.
        calibrated: policy of the float32 comparison.
        covers: tells of a module, by name, whether it has to run here.
        due: tells of a tensor, by name, which runs must have it.
        scalars: whether a tensor of shape [1] stands for a scalar, which Jittor does not have.
        symmetric: fraction of the gradient that flows into a module below which one of its gradients counts as zero by
            symmetry, and is judged absolutely; 0 for never.
    """

    name: str
    exact: Exact64
    calibrated: Calibrated32
    covers: Callable[[str], bool]
    due: Callable[[str], tuple[Run, ...]] = _in_all
    scalars: bool = False
    symmetric: float = 0.0


# Of a few tokens of a small model a thousand numbers are no thousand independent errors.
FEW = 4000


def layers(exact: Exact64, calibrated: Calibrated32) -> Rung:
    """Return the layers rung with policies of one's own."""
    return Rung("layers", exact, calibrated, lambda module: not _of_criterion(module), due=_of_layers)


LOSSES = Rung("losses", Exact64(), Calibrated32(few=FEW, few_max=8), lambda module: _of_criterion(module), scalars=True)
GRADIENTS = Rung(
    "gradients",
    Exact64(1e-11, by_norm=True),
    Calibrated32(factor=8, factor_max=16, most=3),
    lambda module: False,
    due=_in_float64,
    scalars=True,
    symmetric=1e-12,
)


def _of_criterion(module: str) -> bool:
    return module.split(".")[0] == CRITERION
