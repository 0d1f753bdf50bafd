"""What a command writes to standard output."""

from __future__ import annotations

import math
import os
import sys
from typing import Any

from rich.console import Console

PROGRAM = "python -m parity"


class Output(Console):
    """Standard output; a reader that leaves early, as ``head`` does, silences it and changes no exit code."""

    def on_broken_pipe(self) -> None:
        """Send the rest nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain(value: Any) -> Any:
    """Return data that strict JSON can hold: numbers that are not finite become words."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
