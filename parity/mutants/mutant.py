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
        size: how wrong it makes the port, in the unit that ``what`` names; 0 if it is there or not.
    """

    name: str
    module: str
    what: str
    options: dict[str, object] = field(default_factory=dict)
    rung: str = "layers"
    at: str = ""
    size: float = 0.0

    @property
    def planted(self) -> str:
        """What tells a worker to plant this fault at this size."""
        return f"{self.name}={self.size!r}" if self.size else self.name
