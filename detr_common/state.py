"""The strict check that a checkpoint fits a model."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from detr_common.errors import InputError

_LISTED = 8


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
    problems = {
        "missing": [f"missing {name} {list(expected[name])}" for name in expected if name not in values],
        "unexpected": [f"unexpected {name} {list(values[name].shape)}" for name in values if name not in expected],
        "of another shape": [
            f"{name} has shape {list(values[name].shape)}, the model needs {list(shape)}"
            for name, shape in expected.items()
            if name in values and values[name].shape != shape
        ],
    }
    if any(problems.values()):
        count = sum(map(len, problems.values()))
        advice = _of_prefix(values, expected) or "check the model's options (--backbone, --hidden_dim, --pre_norm ...)"
        shown = "\n  ".join(line for kind, lines in problems.items() for line in _first(kind, lines))
        raise InputError(f"{where}: does not fit the model in {count} places; {advice}:\n  {shown}")
    return {name: _as_plain(values[name]) for name in expected}


def _first(kind: str, lines: Sequence[str]) -> list[str]:
    more = len(lines) - _LISTED
    # Of each kind some, since only beside each other they may tell what is wrong.
    return [*lines[:_LISTED], *([f"and {more} more {kind}"] if more > 0 else [])]


def _of_prefix(values: Iterable[str], expected: Collection[str]) -> str:
    """Say that all names have one part too many in front, as ``nn.DataParallel`` saves them, if they have."""
    names = list(values)
    prefix = names[0].partition(".")[0] + "." if names else ""
    if not names or not all(name.startswith(prefix) and name[len(prefix) :] in expected for name in names):
        return ""
    return (
        f"all its names begin with {prefix!r}, as nn.DataParallel saves them; save model.module.state_dict(), or "
        f"{{name.removeprefix({prefix!r}): value for name, value in state.items()}}"
    )


def _as_plain(value: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    if value.dtype.name == "bfloat16":
        value = value.astype(np.float32)
    return np.require(value, requirements=["C", "W"])
