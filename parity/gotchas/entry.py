"""What an entry of the catalogue is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Relation(Enum):
    """How the naive Jittor line stands to the PyTorch line."""

    DIFFERS = "gives something else"
    RAISES = "raises"
    DIES = "ends the process"
    AGREES = "agrees"


@dataclass(frozen=True)
class Gotcha:
    """One difference between the frameworks, or one that is believed in and does not exist.

    Lines are Python; the value of a line is its last expression. They see ``np`` and their own framework: ``torch``,
    ``nn`` and ``F``, or ``jt`` and ``nn``. Exceptions are values too: two lines that both raise agree.

    Attributes:
        id: its name on the command line and its anchor in the documentation.
        title: the difference in a few words.
        differs: what differs, and what that does to a port.
        torch: the PyTorch line.
        naive: the Jittor line that one would write first.
        correct: the Jittor line that agrees with PyTorch's; may be left out where ``relation`` is AGREES.
        inputs: NumPy code run before each line; every array that it assigns becomes a tensor of the same dtype.
        relation: how ``naive`` stands to ``torch``.
        error: the exception that ``naive`` raises, where it does.
        bound: largest error of ``correct``, as a fraction of the largest absolute value of PyTorch's result.
        apart: least distance of ``naive`` from PyTorch's result, as the same fraction, to count as different.
        seed: seed of the framework's generator, set before each line that draws from it.
        alone: each line runs in a process of its own, into which it imports what it needs.
        hazardous: the naive line may corrupt the memory of its process.
        undefined: what the naive line gives differs from run to run.
        not_run: why no line can show this; such an entry has no lines.
        seen_on: the Jittor version on which this was measured.
    """

    id: str
    title: str
    differs: str
    torch: str = ""
    naive: str = ""
    correct: str = ""
    inputs: str = ""
    relation: Relation = Relation.DIFFERS
    error: str = ""
    bound: float = 0.0
    apart: float = 0.0
    seed: int = 0
    alone: bool = False
    hazardous: bool = False
    undefined: bool = False
    not_run: str = ""
    seen_on: str = "1.3.11.0"

    def __post_init__(self) -> None:
        lines = bool(self.torch and self.naive and (self.correct or self.relation is Relation.AGREES))
        if lines == bool(self.not_run):
            raise ValueError(f"{self.id}: either three lines or the reason why there are none")
        if bool(self.error) != (self.relation is Relation.RAISES):
            raise ValueError(f"{self.id}: an entry names the exception if and only if its naive line raises")
        if self.apart and self.apart < self.bound:
            raise ValueError(f"{self.id}: a result cannot be both within the bound and apart")

    @property
    def lines(self) -> dict[str, str]:
        """The lines to run: ``torch``, ``naive`` and, where there is one of its own, ``correct``."""
        return {} if self.not_run else {k: v for k in ("torch", "naive", "correct") if (v := getattr(self, k))}


@dataclass(frozen=True)
class Theme:
    """Entries that belong together.

    Attributes:
        title: heading in the documentation.
        entries: in the order in which they are shown.
    """

    title: str
    entries: tuple[Gotcha, ...]
