"""Reads results, as ``as_dict`` gives them or as ``--json`` has written them, back into verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from detr_common.errors import InputError
from parity.html.words import number
from parity.metrics import Error
from parity.ops.session import OpsVerdict
from parity.ops.session import Result as Operation
from parity.policy import Calibrated32, Exact64, Steps
from parity.port.names import WeightsVerdict
from parity.steps_verdict import Finding, FreeStep, StepsVerdict
from parity.verdict import Judgement, LayersVerdict

RUNGS = ("ops", "layers", "losses", "gradients", "steps")

Verdict = OpsVerdict | LayersVerdict | StepsVerdict
_Record = TypeVar("_Record")


@dataclass(frozen=True)
class Result:
    """A result.

    Attributes:
        passed: whether it says so, and its rungs do.
        left_out: rungs that were wanted and did not run.
        verdicts: of the rungs that ran, in the order of the ladder.
        settings: what was run; empty where the result does not tell.
        weights: verdict of the weights rung, which the ladder of a port begins with; None where it is not there.
        hints: what the first failure can mean, of a port where no module is to blame.
    """

    passed: bool
    left_out: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: WeightsVerdict | None = None
    hints: tuple[str, ...] = ()

    @property
    def compared(self) -> int:
        """Number of comparisons."""
        return sum(verdict.compared for verdict in self.verdicts) + (self.weights.compared if self.weights else 0)

    @property
    def failed(self) -> list[Verdict]:
        """Verdicts that are no pass."""
        return [verdict for verdict in self.verdicts if not verdict]


def read_result(path: Path) -> dict[str, Any]:
    """Read a file that ``--json`` has written.

    Raises:
        InputError: it cannot be read or is no such file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON ({error}); write it with: python -m parity ladder --json") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: holds no result; write it with: python -m parity ladder --json")
    return data


def parse(data: Mapping[str, Any]) -> Result:
    """Return a result of one rung or of the ladder.

    Raises:
        InputError: it is no such result, or a part of it is missing or of another kind.
    """
    try:
        return _parse(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"no result of parity layers, losses, gradients, steps, ops or ladder ({error!r})") from None


def _parse(data: Mapping[str, Any]) -> Result:
    parts = dict(data["rungs"]) if "rungs" in data else {data["rung"]: data}
    matched = parts.pop("weights", None)
    weights = None if matched is None else _weights(matched)
    verdicts = tuple(_verdict(parts[rung]) for rung in sorted(parts, key=_place))
    settings = next((dict(v.settings) for v in verdicts if not isinstance(v, OpsVerdict) and v.settings), {})
    left_out = tuple(map(str, data.get("left_out", ())))
    said = bool(data["passed"]) and all(bool(part["passed"]) for part in parts.values())
    said = said and (matched is None or (bool(matched["passed"]) and bool(weights)))
    passed = said and not left_out and bool(verdicts or weights) and all(verdicts)
    hints = tuple(map(str, data.get("hints", ())))
    return Result(passed, left_out, verdicts, settings, weights, hints)


def _weights(data: Mapping[str, Any]) -> WeightsVerdict:
    shapes = [(one["name"], one["reference"], one["port"]) for one in data["shapes"]]
    lists = (list(map(str, data[key])) for key in ("missing", "unexpected", "unused", "differing"))
    missing, unexpected, unused, differing = lists
    suggested, explained = (dict(data.get(key, {})) for key in ("suggested", "explained"))
    return WeightsVerdict(
        int(data["compared"]),
        missing,
        unexpected,
        shapes,
        unused,
        differing,
        dict(data.get("constants", {})),
        dict(data["settings"]),
        suggested=suggested,
        explained=explained,
    )


def _place(rung: str) -> int:
    if rung not in RUNGS:
        raise ValueError(f"no such rung: {rung}")
    return RUNGS.index(rung)


def _verdict(data: Mapping[str, Any]) -> Verdict:
    if data["rung"] == "ops":
        return OpsVerdict(tuple(_record(Operation, one) for one in data["operations"]))
    if data["rung"] == "steps":
        return StepsVerdict(
            findings=tuple(_record(Finding, one) for one in data["findings"]),
            crashes=tuple(data["crashes"]),
            missing=tuple(data["missing"]),
            counts=dict(data["counts"]),
            ulps={dtype: {kind: number(v) for kind, v in of.items()} for dtype, of in data["ulps_a_step"].items()},
            steps=tuple(_record(FreeStep, one) for one in data["steps"]),
            policy=_record(Steps, {**data["policy"], "ulps": [(d, number(v)) for d, v in data["policy"]["ulps"]]}),
            settings=dict(data["settings"]),
            absolute=tuple(map(str, data.get("absolute", ()))),
        )
    return LayersVerdict(
        judgements=[_judgement(one) for one in data["tensors"]],
        idle=list(data["idle"]),
        unexercised=list(data["unexercised"]),
        crashes=list(data["crashes"]),
        modules=int(data["modules"]),
        exact=_record(Exact64, data["policy"]["exact"]),
        calibrated=_record(Calibrated32, data["policy"]["calibrated"]),
        settings=dict(data["settings"]),
        rung=data["rung"],
        doubled=list(data["doubled"]),
    )


def _judgement(data: Mapping[str, Any]) -> Judgement:
    floats = data.get("floats")
    return _record(
        Judgement,
        {
            **data,
            "shape": tuple(data["shape"]),
            "problems": tuple(data["problems"]),
            "error64": None if data["error64"] is None else _record(Error, data["error64"]),
            "floats": None if floats is None else (_record(Error, floats[0]), _record(Error, floats[1])),
        },
    )


_HINTS: dict[type, dict[str, bool]] = {}


def _record(kind: type[_Record], data: Mapping[str, Any]) -> _Record:
    """Return a dataclass from its plain data; numbers may be words, and what it has no field for is left out."""
    if kind not in _HINTS:
        hints = get_type_hints(kind)
        _HINTS[kind] = {f.name: hints[f.name] is float or float in get_args(hints[f.name]) for f in fields(kind)}  # type: ignore[arg-type]
    given = {name: data[name] for name in _HINTS[kind] if name in data}
    return kind(**{n: number(v) if _HINTS[kind][n] and v is not None else v for n, v in given.items()})
