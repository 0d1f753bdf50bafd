"""What is known of a planted fault."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mutant:
    """A fault of the port.

    Attributes:
        name: its name on the command line.
        module: what must be named as the first divergence: the module, in the steps rung what computed the number
            (``parity.steps_verdict.Finding``).
        what: what is wrong, in a sentence.
        options: model options under which it shows, if not the defaults.
        rung: the rung that finds it; those before it in the ladder do not.
        at: the module in which it sits, where it shows elsewhere first.
        smallest: where the fault has a size, the smallest that was still found when this was measured.
    """

    name: str
    module: str
    what: str
    options: dict[str, object] = field(default_factory=dict)
    rung: str = "layers"
    at: str = ""
    smallest: str = ""
