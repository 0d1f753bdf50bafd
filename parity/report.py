"""The story of a verdict, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from parity.verdict import Judgement, LayersVerdict

# How many parts of a module's name a row of the table by modules stands for: one encoder layer, one stage.
GROUP_DEPTH = 4
ROWS = 12


def print_layers(verdict: LayersVerdict, console: Console, show: str | None = None) -> None:
    """Print coverage and verdict, the first divergence, the modules, and the worst tensors.

    Args:
        verdict: the verdict.
        console: where to print.
        show: a module whose tensors are all listed, in execution order.
    """
    console.print(headline(verdict), highlight=False, soft_wrap=True)
    _print_gaps(verdict, console)
    first = verdict.first_divergence
    if first is not None:
        _print_divergence(verdict, first, console)
    if show is not None:
        chosen = [j for j in verdict.judgements if (j.owner + ".").startswith(show + ".")]
        console.print(_tensor_table(f"All {len(chosen)} tensors of {show}, in execution order", chosen))
        return
    console.print(_module_table(verdict))
    console.print(_tensor_table("Nearest to their bounds", verdict.worst_first()[:ROWS]))
    if first is not None:
        console.print(f"Next: add  --show {first.owner}  to the same command for every tensor of that module.")


def headline(verdict: LayersVerdict) -> str:
    """Return the verdict in two lines, with coverage first."""
    total = verdict.compared + len(verdict.missing) + len(verdict.unexpected)
    coverage = (
        f"{verdict.compared} of {total} tensors compared in {verdict.modules} modules, {len(verdict.missing)} missing, "
        f"{len(verdict.unexpected)} unexpected, {len(verdict.idle)} modules idle"
    )
    word = "[bold green]✓ PASS[/]" if verdict else f"[bold red]✗ FAIL[/] ({len(verdict.failures)} tensors)"
    return (
        f"{word}  layers: {coverage}\n"
        f"float64: worst error {verdict.worst64:.2g} of the tensor's scale (bound {verdict.exact.bound:g})   "
        f"float32: worst {verdict.worst_ratio:.2f} times PyTorch's own error (bound {verdict.calibrated.factor:g}), "
        f"single elements {verdict.worst_ratio_max:.2f} (bound {verdict.calibrated.factor_max:g})"
    )


def _print_gaps(verdict: LayersVerdict, console: Console) -> None:
    for title, names in (
        ("Only PyTorch has", verdict.missing),
        ("Only Jittor has", verdict.unexpected),
        ("Idle or one-sided modules", verdict.idle),
        ("A mask that is the same everywhere (run a batch of unequal sizes)", verdict.unexercised),
        ("Sent twice, so two modules seem to have one name", verdict.doubled),
    ):
        for name in list(names)[:ROWS]:
            console.print(f"  {title}: {escape(name)}", highlight=False, soft_wrap=True)
        if len(names) > ROWS:
            console.print(f"  ... and {len(names) - ROWS} more")
    for crash in verdict.crashes:
        console.print(f"[red]The model raised[/] in {escape(crash.strip())}", highlight=False, soft_wrap=True)
    if verdict.compared == 0:
        console.print("[red]Nothing was compared, so nothing was shown.[/]")


def _print_divergence(verdict: LayersVerdict, first: Judgement, console: Console) -> None:
    console.print(
        f"\n[bold]First divergence:[/] module [bold]{escape(first.owner)}[/]  ({first.source})", highlight=False
    )
    console.print(f"  tensor {escape(first.name)} {list(first.shape)}", highlight=False, soft_wrap=True)
    for problem in first.problems:
        console.print(f"  {escape(problem)}", highlight=False, soft_wrap=True)
    if first.worst:
        console.print(f"  {escape(first.worst)}", highlight=False, soft_wrap=True)
    later = len(verdict.failures) - 1
    console.print(f"  {later} later tensors fail too; look at this module first.\n", highlight=False, soft_wrap=True)


def _module_table(verdict: LayersVerdict) -> Table:
    groups: dict[str, list[Judgement]] = {}
    for judgement in verdict.judgements:
        groups.setdefault(".".join(judgement.owner.split(".")[:GROUP_DEPTH]), []).append(judgement)
    table = Table("", "module", "tensors", "float64 error", "float32 ratio", title="Module by module")
    for name, group in groups.items():
        error, ratio = _worst(j.error64.relative for j in group if j.error64), _worst(j.ratio for j in group)
        table.add_row(_mark(all(group)), escape(name), str(len(group)), f"{error:.1e}", f"{ratio:.2f}")
    return table


def _tensor_table(title: str, judgements: Sequence[Judgement]) -> Table:
    table = Table("", Column("tensor", overflow="fold"), "shape", "float64 error", "float32 ratio", title=title)
    for j in judgements:
        error = f"{j.error64.relative:.1e}" if j.error64 else "-"
        ratio = f"{j.ratio:.2f}" if j.ratio is not None else "-"
        shape = "x".join(map(str, j.shape))
        table.add_row(_mark(bool(j)), escape(j.name.removeprefix("forward/")), shape, error, ratio)
    return table


def _mark(passed: bool) -> str:
    return "[green]✓[/]" if passed else "[red]✗[/]"


def _worst(values: Iterable[float | None]) -> float:
    return max((value for value in values if value is not None), default=0.0)
