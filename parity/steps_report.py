"""The story of the steps rung, for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parity.failures import together
from parity.steps_verdict import StepsVerdict

ROWS = 12


def print_steps(verdict: StepsVerdict, console: Console, show: str = "") -> None:
    """Print coverage, both tables, the first findings and the verdict.

    Args:
        verdict: the verdict.
        console: where to print.
        show: what is to blame for the findings that are all listed, in place of the first ones.
    """
    counts = ", ".join(f"{number} {kind}" for kind, number in verdict.counts.items())
    _say(console, f"{_word(verdict)}  steps: {verdict.compared} tensors compared ({counts})")
    for kind in verdict.missing:
        _say(console, f"  Nothing was compared in the {kind} run")
    if any(verdict.ulps.values()):
        console.print(_forced(verdict))
    if verdict.steps:
        console.print(_free(verdict))
    for name in verdict.absolute[:ROWS]:
        _say(console, f"  Moved by rounding alone, judged by its learning rate: {escape(name)}")
    for crash in together(verdict.crashes):
        _say(console, f"\n[red]The model raised[/] in {escape(crash)}")
    shown = [finding for finding in verdict.findings if finding.owner == show] or verdict.findings[:ROWS]
    for finding in shown:
        _say(console, f"  [red]✗[/] {escape(finding.name)} ({escape(finding.owner)}): {escape(finding.problem)}")
    if len(verdict.findings) > len(shown):
        _say(console, f"  ... and {len(verdict.findings) - len(shown)} more")
    first = verdict.first_divergence
    if first is not None:
        _say(console, f"[bold]First divergence:[/] {escape(first.owner)}, at {escape(first.name)}")
    _say(console, f"{_word(verdict)}  steps")


def _forced(verdict: StepsVerdict) -> Table:
    title = "The same gradients into both optimizers: units in the last place, per step"
    judged = {dtype: kinds for dtype, kinds in verdict.ulps.items() if kinds}
    table = Table("", *judged, title=title, title_justify="left")
    for kind in dict.fromkeys(kind for kinds in judged.values() for kind in kinds):
        table.add_row(kind, *(f"{kinds.get(kind, 0.0):.2f}" for kinds in judged.values()))
    allowed = [f"{verdict.policy.allowed_ulps(dtype, 1):g}" for dtype in judged]
    table.add_row("bound (norm: see docs)", *allowed)
    return table


def _free(verdict: StepsVerdict) -> Table:
    table = Table(
        "step",
        "loss",
        "float64 error",
        "float32 distance",
        "over twins'",
        "loss, over twins'",
        title="Each on its own",
        title_justify="left",
    )
    for s in verdict.steps:
        table.add_row(
            str(s.number),
            f"{s.loss:.4f}",
            "-" if s.error64 is None else f"{s.error64:.1e}",
            f"{s.distance:.1e}",
            f"{s.ratio:.2f}",
            f"{s.loss_ratio:.2f}",
        )
    return table


def _word(verdict: StepsVerdict) -> str:
    return "[bold green]✓ PASS[/]" if verdict else "[bold red]✗ FAIL[/]"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
