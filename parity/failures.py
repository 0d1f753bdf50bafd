"""What is told of a model that raised: the model's own part of the traceback, once for all runs that raised alike."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from pathlib import Path

_HARNESS = str(Path(__file__).resolve().parent) + "/"
# Colours, and the time and process that Jittor's messages begin with, which differ from run to run.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STAMP = re.compile(r"\[[a-z] \d{4} [\d:.]+ [\w:]+ ([\w.]+:\d+)\]")


def traceback_of(error: BaseException) -> str:
    """Return a traceback without the lines of the harness through which the model was called.

    All lines are kept where it is the harness that raised.
    """
    told = traceback.TracebackException.from_exception(error)
    frames = [frame for frame in told.stack if not frame.filename.startswith(_HARNESS)]
    if frames and told.stack[-1] is frames[-1]:
        told.stack = traceback.StackSummary.from_list(frames)
    return _STAMP.sub(r"[\1]", _COLOUR.sub("", "".join(told.format())))


def together(crashes: Sequence[str]) -> list[str]:
    """Return failures, each ``RUN: TRACEBACK``, with one entry for all runs that failed alike."""
    runs: dict[str, list[str]] = {}
    for crash in crashes:
        run, _, what = crash.partition(": ")
        runs.setdefault(what.strip(), []).append(run)
    return [f"{', '.join(names)}: {what}" for what, names in runs.items()]
