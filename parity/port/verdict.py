"""The verdict of a port: that of each rung, in one object that can be asserted."""

from __future__ import annotations

import io
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from parity.html.writing import check_report
from parity.ladder import LadderVerdict
from parity.output import plain
from parity.port.hints import BESIDE, hints
from parity.port.names import WeightsVerdict
from parity.report import print_layers
from parity.steps_report import print_steps
from parity.steps_verdict import StepsVerdict
from parity.verdict import LayersVerdict


@dataclass(frozen=True)
class PortVerdict(LadderVerdict):
    """Truthy if every rung that was wanted ran and passed; ``print`` tells its story.

    Attributes:
        unasked: rungs that were not wanted, and why.
        show: a module whose tensors the story lists; empty for none.
    """

    unasked: dict[str, str] = field(default_factory=dict)
    show: str = ""

    @property
    def first_failure(self) -> Any:
        """The verdict of the first rung that failed; None for a pass."""
        return next((verdict for verdict in self.verdicts if not verdict), None)

    @property
    def module(self) -> str:
        """The module to look at first, by the reference's name; empty for a pass, or where none is to blame.

        Where a model raised, that is to be mended first (``hints``): what came after it is missing and to no blame.
        """
        failed = self.first_failure
        if isinstance(failed, LayersVerdict):
            first = failed.first_divergence
            return "" if first is None or failed.crashes else first.owner
        if isinstance(failed, StepsVerdict):
            return failed.findings[0].owner if failed.findings else ""
        return ""

    def story(self, show: str = "") -> str:
        """Return what was compared and what was found, rung by rung.

        Args:
            show: a module whose tensors are all listed, in place of ``self.show``.
        """
        text = io.StringIO()
        console = Console(file=text, width=140, no_color=True, highlight=False)
        self.print(console, show)
        return text.getvalue()

    def print(self, console: Console, show: str = "", command: str = "") -> None:
        """Print what was compared and what was found, rung by rung.

        Args:
            console: where to print.
            show: see ``story``.
            command: of the shell that was run, to which the next one adds; empty where this is called from Python.
        """
        show = show or self.show
        for verdict in self.verdicts:
            if isinstance(verdict, WeightsVerdict):
                print_weights(verdict, console)
            elif isinstance(verdict, StepsVerdict):
                print_steps(verdict, console, show)
            elif isinstance(verdict, LayersVerdict):
                print_layers(verdict, console, show)
            console.print()
        for verdict in self.verdicts:
            mark = "[bold green]✓ PASS[/]" if verdict else "[bold red]✗ FAIL[/]"
            console.print(f"{mark}  {verdict.rung:<10} {verdict.compared} compared", highlight=False)
        for rung in self.left_out:
            console.print(f"[bold red]✗ FAIL[/]  {rung:<10} did not run", highlight=False)
        if not show or show == self.module:
            for line in hints(self.verdicts):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        for rung, why in self.unasked.items():
            console.print(f"[dim]-[/] not asked  {rung}: {why}", highlight=False)
        if self.module and not show:
            what = "its tensors" if self.module not in BESIDE else "what was found of it"
            how = f"{command} --show {shlex.quote(self.module)}" if command else f"verdict.story({self.module!r})"
            console.print(f"Next: look at {self.module}; {how} lists {what}", markup=False, soft_wrap=True)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for ``--json``; ``hints`` say what a failure can mean."""
        return {**super().as_dict(), "hints": hints(self.verdicts)}

    def write_html(self, path: Path | str) -> None:
        """Write the report: one page that needs no network.

        Raises:
            InputError: the file cannot be written there.
        """
        # Here, since a page is seldom wanted and takes long to load.
        from parity.html import write_report

        check_report("path", Path(path))
        write_report(plain(self.as_dict()), Path(path))

    def __str__(self) -> str:
        return self.story()

    def __repr__(self) -> str:
        failed = self.first_failure
        if self:
            return f"<PASS: {', '.join(f'{v.rung} {v.compared}' for v in self.verdicts)}>"
        if failed is None:
            return f"<FAIL: did not run: {', '.join(self.left_out) or 'no rung was wanted'}>"
        return f"<FAIL {failed.rung}: {failed.reason}>"


def print_weights(verdict: WeightsVerdict, console: Console) -> None:
    """Print coverage and what does not match."""
    mark = "[bold green]✓ PASS[/]" if verdict else "[bold red]✗ FAIL[/]"
    console.print(
        f"{mark}  weights: {verdict.matched} matched and converted, {len(verdict.missing)} missing, "
        f"{len(verdict.unexpected)} unexpected, {len(verdict.shapes)} of another shape",
        highlight=False,
    )
    for problem in verdict.problems():
        console.print(f"  {problem}", markup=False, highlight=False)
