"""Puts the page together."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from detr_common.options import default_args
from parity.failures import together
from parity.html import words
from parity.html.curves import envelope_chart, free_chart
from parity.html.kills import Kills
from parity.html.result import Result, Verdict
from parity.html.rows import ladder_rows
from parity.html.runs import Training, model_of
from parity.html.sections import TensorSection, tensor_section
from parity.html.tree import percent
from parity.ops.session import OpsVerdict
from parity.steps_verdict import StepsVerdict

_TEMPLATES = Path(__file__).parent / "templates"
# Options of the steps rung, which a rung that compares tensor by tensor does not take.
_OF_STEPS = ("--forced", "--free")


@dataclass(frozen=True)
class StepsSection:
    """What the page says of the steps rung: its verdict, and its charts if there were free steps."""

    verdict: StepsVerdict
    envelope: Markup | None
    free: Markup | None
    kind = "steps"


@dataclass(frozen=True)
class OpsSection:
    """What the page says of the ops rung: its verdict."""

    verdict: OpsVerdict
    kind = "ops"


Section = TensorSection | StepsSection | OpsSection


def render(result: Result, command: str, training: Training | None, kills: Kills | None) -> str:
    """Return the page.

    Args:
        result: what was compared.
        command: that gave it; empty if it is not known.
        training: whole runs, if there are any.
        kills: the table of planted faults, if there is one.
    """
    environment = _environment()
    sections = [_section(verdict) for verdict in result.verdicts]
    failing = next((s for s in sections if isinstance(s, TensorSection) and s.first), None)
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        result=result,
        # A planted fault and a failed training are told beside the verdict, not in it.
        passed=result.passed and (training is None or training.passed is not False),
        compared=result.compared,
        rows=ladder_rows(result, training),
        sections=sections,
        failing=failing,
        following=_following(command, failing),
        command=command,
        subtitle=model_of(result.settings),
        settings=_Settings(result.settings),
        training=training,
        kills=kills,
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=words.finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "short": words.short,
        "ratio": words.ratio,
        "plainly": words.plainly,
        "count": words.count,
        "percent": percent,
        "together": together,
    }
    return environment


def _section(verdict: Verdict) -> Section:
    if isinstance(verdict, OpsVerdict):
        return OpsSection(verdict)
    if isinstance(verdict, StepsVerdict):
        exact = any(step.error64 is not None for step in verdict.steps)
        envelope = envelope_chart(verdict) if verdict.steps else None
        return StepsSection(verdict, envelope, free_chart(verdict) if exact else None)
    return tensor_section(verdict)


def _following(command: str, failing: TensorSection | None) -> str:
    """Return the command that lists every tensor of the module that diverged first."""
    if failing is None or failing.first is None or not command:
        return ""
    words_ = shlex.split(command)
    if "parity" not in words_[:-1]:
        return ""
    at = words_.index("parity") + 1
    kept, rest = [*words_[:at], failing.verdict.rung], iter(words_[at + 1 :])
    for word in rest:
        name = word.partition("=")[0]
        if name in ("--html", "--show", *_OF_STEPS):
            if "=" not in word:
                next(rest, None)
        elif name not in ("--json",):
            kept.append(word)
    return shlex.join([*kept, "--show", failing.first.judgement.owner])


class _Settings:
    """What was run, as the page shows it.

    Args:
        settings: of a verdict.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.mutant = str(settings.get("mutant") or "")
        self.environment = {
            {"torch": "PyTorch", "jittor": "Jittor"}.get(str(framework), str(framework)): _versions(of)
            for framework, of in _mapping(settings.get("environment")).items()
        }
        weights, port = _mapping(settings.get("weights")), _mapping(settings.get("port_weights"))
        both = weights == port or not port
        self.files = [_file("Checkpoint of both" if both else "PyTorch's checkpoint", weights)] if weights else []
        self.files += [] if both else [_file("Jittor's checkpoint", port)]
        images = settings.get("images") or ()
        self.files += [_file("Image", _mapping(image)) for image in images]
        self.options = {str(name): str(value) for name, value in _mapping(settings.get("args")).items()}
        usual = {name: str(value) for name, value in vars(default_args()).items()}
        self.changed = {name for name, value in self.options.items() if usual.get(name, value) != value}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _versions(of: Any) -> list[tuple[str, str]]:
    """Return versions and flags; of the path of Jittor's kernel cache only the compiler and the Python."""
    found = []
    for name, value in _mapping(of).items():
        if name == "cache":
            named = {"compiler": r"/((?:g\+\+|clang)[\d.]+)", "python": r"/py([\d.]+)"}
            matches = {what: re.search(pattern, str(value)) for what, pattern in named.items()}
            found += [(what, match[1]) for what, match in matches.items() if match]
        else:
            found.append((str(name), str(value)))
    return found


def _file(what: str, told: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return what a file is for, its name, its size or shape, and its hash."""
    name = str(told.get("name", "")) or (f"a cut of {told['cut_of']}" if "cut_of" in told else "")
    about = [" × ".join(map(str, told["shape"]))] if "shape" in told else []
    about += [f"{told['bytes']:,} bytes"] if isinstance(told.get("bytes"), int) else []
    about += [f"seed {told['seed']}"] if "seed" in told else []
    return what, name, ", ".join(about), str(told.get("sha256", ""))
