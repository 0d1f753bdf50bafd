"""The strict check that a checkpoint fits a model."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from detr_common.errors import InputError


def check_names_and_shapes(
    values: Mapping[str, npt.NDArray[np.generic]], expected: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays of a checkpoint in a model's order, C-contiguous, if every name and shape agrees.

    ``num_batches_tracked`` counters are dropped, since frozen batch norm has none; bfloat16 becomes float32.

    Args:
        values: arrays by name.
        expected: shapes by name.
        where: the file, for the message.

    Raises:
        InputError: names are missing or unexpected or shapes differ; all of them are listed.
    """
    values = {name: value for name, value in values.items() if not name.endswith("num_batches_tracked")}
    problems = [f"missing {name} {list(expected[name])}" for name in expected if name not in values]
    problems += [f"unexpected {name} {list(values[name].shape)}" for name in values if name not in expected]
    problems += [
        f"{name} has shape {list(values[name].shape)}, the model needs {list(shape)}"
        for name, shape in expected.items()
        if name in values and values[name].shape != shape
    ]
    if problems:
        shown = "\n  ".join(problems[:20]) + ("" if len(problems) <= 20 else f"\n  and {len(problems) - 20} more")
        raise InputError(
            f"{where}: does not fit the model in {len(problems)} places; check the model's options "
            f"(--backbone, --hidden_dim, --pre_norm ...):\n  {shown}"
        )
    return {name: _as_plain(values[name]) for name in expected}


def _as_plain(value: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    if value.dtype.name == "bfloat16":
        value = value.astype(np.float32)
    return np.require(value, requirements=["C", "W"])
