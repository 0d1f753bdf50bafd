"""The story of a verdict, for a terminal: coverage first, the tables, and last what to look at and what to type."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parity.failures import together
from parity.mutants.mutant import Mutant
from parity.verdict import Judgement, LayersVerdict

# How many parts of a module's name a row of the table by modules stands for: one encoder layer, one stage.
GROUP_DEPTH = 4
ROWS = 12


def print_layers(verdict: LayersVerdict, console: Console, show: str = "", command: str = "") -> None:
    """Print coverage, the tables, and at the end the first divergence, the next command and the verdict.

    Args:
        verdict: the verdict.
        console: where to print. On a terminal names of tensors are folded at dots; elsewhere each is one line.
        show: a module whose tensors are all listed, in execution order, instead of the tables; empty for none.
        command: the command that was run, to which the next one adds.
    """
    _say(console, f"{_word(verdict)}  {verdict.rung}: {_coverage(verdict)}")
    _print_gaps(verdict, console)
    if show:
        chosen = [j for j in verdict.judgements if (j.owner + ".").startswith(show + ".")]
        _print_tensors(f"All {_count(len(chosen), 'tensor')} of {show}, in execution order", chosen, console)
    elif verdict.judgements:
        console.print(_module_table(verdict))
        _print_tensors("Nearest to their bounds", verdict.worst_first()[:ROWS], console)
    choices = verdict.settings.get("choices")
    if choices and choices["followed"] < choices["given"]:
        _say(
            console,
            f"{choices['followed']} of the reference's {choices['given']} choices (ReLU, max pooling) were followed; "
            "where a choice is not, rounding may move it, and float32 gradients may differ by more",
        )
    for crash in together(verdict.crashes):
        _say(console, f"\n[red]The model raised[/] in {escape(crash)}")
    first = verdict.first_divergence
    if first is not None:
        _print_divergence(verdict, first, console)
    _say(console, f"\n{_figures(verdict)}")
    _say(console, _conclusion(verdict))
    if first is not None and not show and command:
        _say(console, f"Next: {escape(command)} --show {escape(first.owner)}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _word(verdict: LayersVerdict) -> str:
    return "[bold green]✓ PASS[/]" if verdict else "[bold red]✗ FAIL[/]"


def _coverage(verdict: LayersVerdict) -> str:
    total = verdict.compared + len(verdict.missing) + len(verdict.unexpected)
    idle = _count(len(verdict.idle), "module")
    return (
        f"{verdict.compared} of {_count(total, 'tensor')} compared in {_count(verdict.modules, 'module')}, "
        f"{len(verdict.missing)} missing, {len(verdict.unexpected)} unexpected, {idle} idle"
        + (f", {len(verdict.absolute)} judged absolutely" if verdict.absolute else "")
    )


def _figures(verdict: LayersVerdict) -> str:
    exact = f"worst error {verdict.worst64:.2g} of the tensor's {verdict.exact.of} (bound {verdict.exact.bound:g})"
    return f"float64: {exact if verdict.in_float64 else 'not judged'}\nfloat32: {_figures32(verdict)}"


def _figures32(verdict: LayersVerdict) -> str:
    policy = verdict.calibrated
    judged = [j for j in verdict.judgements if j.ratio is not None]
    if not judged:
        return "not judged"
    if all(j.floats is not None and policy.below_floor(j.floats[0]) for j in judged):
        return f"no error of Jittor's is above the noise floor ({policy.floor_ulps:g} roundings of a tensor's scale)"
    single = f"single elements {_ratio(verdict.worst_ratio_max)} (bound {policy.factor_max:g}{_of_few(verdict)})"
    if all(map(verdict.small, judged)):
        return (
            f"only tensors of fewer than {policy.few} elements; times PyTorch's own error: worst "
            f"{_ratio(verdict.worst_ratio_small)} (bound {policy.bound(1):g}), {single}"
        )
    most = f", 95 of 100 tensors {_ratio(verdict.typical_ratio)} (bound {policy.most:g})"
    return f"worst {_ratio(verdict.worst_ratio)} times PyTorch's own error (bound {policy.factor:g}), {single}" + (
        most if math.isfinite(policy.most) else ""
    )


def _of_few(verdict: LayersVerdict) -> str:
    bound = verdict.calibrated.bound_max(1)
    return f", in small tensors {bound:g}" if bound > verdict.calibrated.factor_max else ""


def _conclusion(verdict: LayersVerdict) -> str:
    """Return the verdict with its reasons in one line."""
    if verdict:
        return f"{_word(verdict)}  {verdict.compared} of {_count(verdict.compared, 'tensor')} within the bounds"
    if verdict.compared == 0:
        return f"{_word(verdict)}  nothing was compared, so nothing was shown"
    reasons = [
        _count(number, thing)
        for number, thing in (
            (len(verdict.failures), "failing tensor"),
            (len(verdict.idle), "idle or one-sided module"),
            (len(verdict.unexercised), "uniform mask"),
            (len(verdict.doubled), "doubled name"),
            (int(verdict.typical_ratio > verdict.calibrated.most), "typical float32 error above its bound"),
            (len(verdict.crashes), "traceback"),
        )
        if number
    ]
    return f"{_word(verdict)}  {', '.join(reasons)}"


def _print_gaps(verdict: LayersVerdict, console: Console) -> None:
    for title, names in (
        ("Only PyTorch has", verdict.missing),
        ("Only Jittor has", verdict.unexpected),
        ("Idle or one-sided module", verdict.idle),
        ("A mask that is the same everywhere (run a batch of unequal sizes)", verdict.unexercised),
        ("Zero by symmetry, judged absolutely", verdict.absolute),
        ("Sent twice, so two modules seem to have one name", verdict.doubled),
    ):
        for name in list(names)[:ROWS]:
            _say(console, f"  {title}: {escape(name)}")
        if len(names) > ROWS:
            _say(console, f"  ... and {len(names) - ROWS} more")
    if verdict.typical_ratio > verdict.calibrated.most:
        above = [j for j in verdict.judgements if j.ratio is not None and j.ratio > verdict.calibrated.most]
        for one in sorted(above, key=lambda j: -(j.ratio or 0.0))[:ROWS]:
            _say(
                console,
                f"  More than 95 of 100 may be: {one.ratio:.3g} times the reference's error, {escape(one.name)}",
            )


def _print_divergence(verdict: LayersVerdict, first: Judgement, console: Console) -> None:
    place = f"  ({escape(first.source)})" if first.source else ""
    _say(console, f"\n[bold]First divergence:[/] module [bold]{escape(first.owner)}[/]{place}")
    _say(console, f"  tensor {escape(first.name)} {escape(str(list(first.shape)))}")
    for line in [*first.problems, *([first.worst] if first.worst else [])]:
        _say(console, f"  {escape(line)}")
    later = len(verdict.failures) - 1
    if later:
        _say(
            console,
            f"  {_count(later, 'later tensor')} {'fails' if later == 1 else 'fail'} too; start with this module.",
        )


def _module_table(verdict: LayersVerdict) -> Table:
    groups: dict[str, list[Judgement]] = {}
    for judgement in verdict.judgements:
        groups.setdefault(".".join(judgement.owner.split(".")[:GROUP_DEPTH]), []).append(judgement)
    table = Table("", "module", "tensors", "float64 error", "float32 ratio", title="Module by module")
    for name, group in groups.items():
        error = _worst(verdict.exact.size(j.error64) for j in group if j.error64 and not j.absolute)
        ratio = _worst(j.ratio for j in group)
        figures = "-" if error is None else f"{error:.1e}", "-" if ratio is None else _ratio(ratio)
        table.add_row(_mark(all(group)), escape(name), str(len(group)), *figures)
    return table


def _print_tensors(title: str, judgements: Sequence[Judgement], console: Console) -> None:
    """Print one tensor a line, the numbers first, since a name may be longer than the terminal is wide."""
    _say(console, f"\n[italic]{escape(title)}[/]")
    _say(console, f"[bold]  {'float64':>7}  {'float32':>7}  tensor[/]")
    lead = 2 + 7 + 2 + 7 + 2
    width = console.width - lead if console.is_terminal else None
    for j in judgements:
        error = f"{j.error64.relative:.1e}" if j.error64 else "-"
        ratio = _ratio(j.ratio) if j.ratio is not None else "-"
        name = fold(f"{j.name.removeprefix('forward/')} {'x'.join(map(str, j.shape))}".rstrip(), width)
        _say(console, f"{_mark(bool(j))} {error:>7}  {ratio:>7}  {escape(name[0])}")
        for part in name[1:]:
            _say(console, " " * lead + escape(part))


def fold(name: str, width: int | None) -> list[str]:
    """Fold a tensor's name and shape into lines, after a dot or at the space; a longer part stays whole.

    Args:
        name: what to fold.
        width: columns of a line; None folds nothing.
    """
    if width is None:
        return [name]
    lines = [""]
    for part in name.replace(".", ".\0").replace(" ", " \0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("  ")
        lines[-1] += part
    return [line.rstrip() for line in lines]


def _ratio(value: float) -> str:
    """Return a ratio in at most seven columns."""
    return f"{value:.2f}" if value < 1000 or not math.isfinite(value) else f"{value:.1e}"


def _mark(passed: bool) -> str:
    return "[green]✓[/]" if passed else "[red]✗[/]"


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def print_mutants(mutants: Iterable[Mutant], console: Console) -> None:
    """Print the known faults: name, what is wrong, the rung that finds it, and the module that it must name."""
    for mutant in mutants:
        size = f"; =SIZE plants another than {mutant.size:g}" if mutant.size else ""
        place = f"at {mutant.module} ({mutant.rung}){size}"
        _say(console, f"[bold]{escape(mutant.name)}[/]\n    {escape(mutant.what)}; {escape(place)}")
