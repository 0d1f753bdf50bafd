"""The protocol that an adapter fulfils."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from parity.trace import Entry

Array = npt.NDArray[Any]
EmitEntry = Callable[[Entry], None]

# The name under which post-processing stands in a trace, beside the model's modules.
POSTPROCESS = "postprocess"


class Adapter(Protocol):
    """What the harness asks of a framework."""

    name: str

    def environment(self) -> dict[str, str]:
        """Return versions and flags, for the manifest."""

    def build(self, args: argparse.Namespace, weights: Path, twin: bool = False) -> None:
        """Build the detector in evaluation mode and load weights into it.

        Args:
            args: options of the detector.
            weights: the checkpoint.
            twin: compute without oneDNN and cuDNN, from weights moved by one ulp.

        Raises:
            InputError: the weights do not fit.
        """

    def modules(self) -> list[str]:
        """Return the names of all modules, post-processing included."""

    def plant(self, mutant: str) -> None:
        """Plant a known fault in the model (``parity.mutants``)."""

    def forward(self, images: Sequence[npt.NDArray[np.float32]], emit: EmitEntry | None) -> dict[str, Array]:
        """Run the detector and its post-processing on [3, H, W] images.

        Args:
            images: float32; cast to the dtype of the model.
            emit: receives every captured tensor in execution order; None runs plainly.

        Returns:
            ``pred_logits``, ``pred_boxes`` and the detections of each image: ``scores.0``, ``labels.0``, ``boxes.0``.
        """


def code_of(function: Callable[..., object]) -> tuple[CodeType, str]:
    """Return a function's code object and its file, relative to the package that it belongs to."""
    function = inspect.unwrap(function)
    code: CodeType = function.__code__
    parts = Path(code.co_filename).parts
    package = function.__module__.split(".")[0]
    start = max((i for i, part in enumerate(parts) if part == package), default=len(parts) - 1)
    return code, "/".join(parts[start:])


def flatten_results(outputs: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Name predictions and detections as ``Adapter.forward`` returns them."""
    named = {key: outputs[key] for key in ("pred_logits", "pred_boxes")}
    for i, detection in enumerate(detections):
        named.update({f"{key}.{i}": value for key, value in detection.items()})
    return named
