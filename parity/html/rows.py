"""The ladder as a table: what each rung compared, and its figures against its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from parity.html.result import RUNGS, Result, Verdict
from parity.html.runs import Training
from parity.html.sections import exceeds, over, over_max
from parity.html.words import plainly, ratio, short, worst_of
from parity.ops.session import OpsVerdict
from parity.policy import Calibrated32, Exact64
from parity.port.names import WeightsVerdict
from parity.steps_verdict import StepsVerdict
from parity.verdict import LayersVerdict

# What each rung is, and the command that runs it alone.
WHAT = {
    "data": "images, targets and masks of whole batches",
    "weights": "checkpoints converted both ways",
    "ops": "single operations on generated inputs",
    "layers": "every module's output",
    "losses": "the matching and every loss",
    "gradients": "of every parameter and module output",
    "steps": "optimizer, clipping, schedule",
    "training": "whole runs: losses and AP",
}
COMMANDS = {
    "data": "python -m parity data --coco_path DIR",
    "weights": "python -m weight_convert SRC DST --verify",
    "training": "python -m parity train --output_dir DIR, then --runs DIR here",
}


@dataclass(frozen=True)
class Figure:
    """A figure against its bound.

    Attributes:
        value: as text.
        bound: likewise; empty where there is none.
        wrong: whether it is above it.
    """

    value: str
    bound: str
    wrong: bool


@dataclass(frozen=True)
class Row:
    """A rung.

    Attributes:
        rung: its name.
        status: "pass", "fail", "left out" (wanted, and did not run) or "not run".
        compared: number of comparisons.
        figures: by column, "float64", "float32" and "elements".
        note: what else there is to say.
    """

    rung: str
    status: str
    compared: int = 0
    figures: Mapping[str, Figure] = field(default_factory=dict)
    note: str = ""

    @property
    def what(self) -> str:
        """What the rung compares."""
        return WHAT.get(self.rung, "")


def ladder_rows(result: Result, training: Training | None) -> list[Row]:
    """Return a row for each rung of the ladder, those that did not run included."""
    ran = {verdict.rung: verdict for verdict in result.verdicts}
    rows = []
    for rung in WHAT:
        if rung in ran:
            rows.append(_row(ran[rung]))
        elif rung == "weights" and result.weights is not None:
            rows.append(_of_weights(result.weights))
        elif rung == "training" and training is not None:
            rows.append(_of_training(training))
        elif rung in result.left_out:
            rows.append(Row(rung, "left out", note="wanted, and did not run"))
        else:
            rows.append(Row(rung, "not run", note=COMMANDS.get(rung, f"python -m parity {rung}")))
    assert set(RUNGS) <= set(WHAT)
    return rows


def _of_weights(verdict: WeightsVerdict, most: int = 5) -> Row:
    problems = verdict.problems()
    left = [f"and {len(problems) - most} more"] if len(problems) > most else []
    note = "; ".join([*problems[:most], *left]) or "matched, and read back bitwise"
    return Row("weights", "pass" if verdict else "fail", verdict.compared, note=note)


def _row(verdict: Verdict) -> Row:
    status = "pass" if verdict else "fail"
    if not verdict.compared:
        return Row(verdict.rung, status, note="nothing was compared")
    if isinstance(verdict, OpsVerdict):
        return Row(verdict.rung, status, verdict.compared, *_of_operations(verdict))
    if isinstance(verdict, StepsVerdict):
        return Row(verdict.rung, status, verdict.compared, *_of_steps(verdict))
    return Row(verdict.rung, status, verdict.compared, *_of_tensors(verdict))


def _of_tensors(verdict: LayersVerdict) -> tuple[dict[str, Figure], str]:
    exact, calibrated = verdict.exact, verdict.calibrated
    figures = {}
    if verdict.in_float64:
        worst64 = verdict.worst64
        figures["float64"] = Figure(short(worst64), plainly(exact.bound), exceeds(worst64, exact.bound))
    if any(j.ratio is not None and not verdict.small(j) for j in verdict.judgements):
        worst = verdict.worst_ratio
        figures["float32"] = Figure(ratio(worst), over(verdict), exceeds(worst, calibrated.bound(10**9)))
    if verdict.in_float32:
        single = verdict.worst_ratio_max
        figures["elements"] = Figure(ratio(single), over_max(verdict), exceeds(single, calibrated.bound_max(1)))
    notes = [
        f"{amount:,} {what}"
        for amount, what in (
            (len(verdict.failures), "failing"),
            (len(verdict.missing), "missing"),
            (len(verdict.unexpected), "unexpected"),
            (len(verdict.idle), "modules idle"),
            (len(verdict.crashes), "tracebacks"),
            (len(verdict.absolute), "judged absolutely"),
        )
        if amount
    ]
    if calibrated.most < float("inf"):
        notes.append(f"95 of 100 tensors {ratio(verdict.typical_ratio)} (bound {plainly(calibrated.most)})")
    return figures, ", ".join(notes)


def _of_operations(verdict: OpsVerdict) -> tuple[dict[str, Figure], str]:
    worst64 = worst_of(one.worst64 for one in verdict.results)
    worst32 = worst_of(one.worst32 for one in verdict.results)
    exact, calibrated = Exact64(), Calibrated32()
    figures = {
        "float64": Figure(short(worst64), plainly(exact.bound), exceeds(worst64, exact.bound)),
        "float32": Figure(ratio(worst32), plainly(calibrated.factor), exceeds(worst32, calibrated.factor)),
    }
    differ = sum(not one for one in verdict.results)
    note = f"{len(verdict.results)} operations"
    return figures, note + (f", {differ} differ (figures are of those that agree)" if differ else "")


def _of_steps(verdict: StepsVerdict) -> tuple[dict[str, Figure], str]:
    figures, policy = {}, verdict.policy
    if verdict.steps:
        errors64 = [step.error64 for step in verdict.steps if step.error64 is not None]
        worst = worst_of(step.ratio for step in verdict.steps)
        if errors64:
            worst64 = worst_of(errors64)
            figures["float64"] = Figure(short(worst64), plainly(policy.bound), exceeds(worst64, policy.bound))
        figures["float32"] = Figure(ratio(worst), plainly(policy.factor), exceeds(worst, policy.factor))
    counts = ", ".join(f"{amount:,} {kind}" for kind, amount in verdict.counts.items())
    return figures, ", ".join([*([f"{len(verdict.findings):,} findings"] if verdict.findings else []), counts])


def _of_training(training: Training) -> Row:
    figures = {}
    if training.judged:
        _, worst, factor, _ = training.judged[0]
        figures["float32"] = Figure(worst, factor, training.passed is False)
    status = "not run" if training.passed is None else "pass" if training.passed else "fail"
    return Row("training", status, training.runs, figures, f"{training.runs} runs of {training.epochs} epochs")
