"""What the lines gave when the catalogue was last recorded, for the documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parity.gotchas.check import Finding
from parity.gotchas.values import Outcome, is_array

FILE = Path(__file__).parent / "measured.json"

# Characters of a result beyond which the documentation shows its shape only.
_WIDTH = 70


def record(findings: Sequence[Finding], path: Path = FILE) -> None:
    """Write what each line gave, in short."""
    shown = {
        f.entry.id: {
            name: "differs from run to run" if f.entry.undefined and name == "naive" else brief(outcome)
            for name, outcome in f.outcomes.items()
        }
        for f in findings
    }
    path.write_text(json.dumps(shown, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def recorded() -> dict[str, dict[str, str]]:
    """Return what each line gave, by entry and line."""
    shown: dict[str, dict[str, str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return shown


def brief(outcome: Outcome) -> str:
    """Describe an outcome in one short line."""
    if outcome.kind == "died":
        return f"the process ends ({outcome.detail})"
    if outcome.kind == "hung":
        return f"hangs ({outcome.detail})"
    if outcome.kind == "raised":
        return f"raises {outcome.exception}"
    text = _text(outcome.value)
    return text if len(text) <= _WIDTH else _shape(outcome.value)


def _text(value: Any) -> str:
    if is_array(value):
        return _nested(value["shape"], [_text(v) for v in value["values"]])
    if isinstance(value, list):
        return "[" + ", ".join(_text(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _nested(shape: list[int], words: list[str]) -> str:
    if not shape:
        return words[0]
    if 0 in shape:
        return f"empty, shape {shape}"
    step = len(words) // shape[0]
    rows = [words[i * step : (i + 1) * step] for i in range(shape[0])]
    return "[" + ", ".join(_nested(shape[1:], row) for row in rows) + "]"


def _shape(value: Any) -> str:
    if is_array(value):
        first = ", ".join(_text(v) for v in value["values"][:4])
        return f"shape {value['shape']}: {first}, …"
    return _text(value)[: _WIDTH - 1] + "…"
