"""Whole runs: what is read of them, how they are judged, and that a port that learns otherwise is told."""

import json
import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from detr_common.errors import InputError
from detr_common.options import training_args
from fixtures.coco import EASY, write_coco
from parity.frameworks import torch_adapter
from parity.runs.converge import ConvergeJob, ConvergeVerdict, converge
from parity.runs.curves import FLOOR, STEPS, Curves, apart, envelope, final, inside, read_curves
from parity.runs.equivalence import equivalence
from parity.runs.figures import LOSSES, draw
from parity.runs.training import TrainJob, prepare, processors, train_all
from parity.runs.verdict import compare_training

SMALL = {
    "backbone": "resnet18", "enc_layers": 1, "dec_layers": 2, "hidden_dim": 32, "nheads": 4, "dim_feedforward": 64,
    "num_queries": 5, "num_classes": 45,
}  # fmt: skip


def run_of(losses: list[float], ap: float = 0.5) -> Curves:
    figures = [ap] * 12
    epochs = tuple(
        {"epoch": i, **{key: loss for key in LOSSES}, "test_coco_eval_bbox": figures, "train_coco_eval_bbox": figures}
        for i, loss in enumerate(losses)
    )
    return Curves(tuple({"epoch": i, "step": 0, "loss": loss} for i, loss in enumerate(losses)), epochs)


def runs_of(port: list[float]) -> dict[str, Curves]:
    return {
        "torch": run_of([8, 4, 2]),
        "jittor": run_of(port),
        "twin1": run_of([8, 4.1, 2]),
        "twin2": run_of([8, 4, 2]),
    }


def test_envelope_is_the_largest_distance_so_far() -> None:
    assert apart([8, 5, 2], [8, 4, 4]) == [0, 0.25, 0.5]
    assert envelope([[0, 0.1, 0], [0, 0, 0.05]], 0.01) == [0.01, 0.1, 0.1]


def test_distance_from_nothing_is_a_fraction_of_the_largest_value() -> None:
    assert apart([50, 1, 0.5], [50, 0, 0]) == [0, 2, 1]
    assert apart([0, 0], [0, 0]) == [0, 0]


def test_each_run_of_pytorch_is_shown_in_the_place_of_the_port() -> None:
    runs = runs_of([8, 4.05, 2])
    runs["twin2"] = run_of([8, 4.2, 2])
    # Around each of the other two, in the envelope of the third: 4 and 4.1 and 4.2 are a tenth and two tenths apart.
    assert inside(runs, "train_loss").correct == pytest.approx((1.5, 0.5, 1.5), rel=0.05)
    del runs["twin2"]
    assert inside(runs, "train_loss").correct == ()


def test_the_run_that_was_not_moved_decides_and_the_others_are_shown() -> None:
    runs = {f"twin{i}": run_of([8, loss, 2]) for i, loss in enumerate((4.1, 3.9, 4.15, 3.85), 1)}
    runs |= {"torch": run_of([8, 4, 2]), "jittor": run_of([8, 4.31, 2])}
    found = inside(runs, "train_loss")
    # Around the run in the middle the envelope is narrow; around the others the port is as near as they are.
    assert found.worst == pytest.approx(found.multiples[list(runs).index("torch")]) and found.worst > 2 >= found.typical
    assert not found


def test_a_curve_in_the_envelope_passes_and_one_beyond_fails() -> None:
    assert inside(runs_of([8, 4.15, 1.95]), "train_loss")
    beyond = inside(runs_of([8, 4.25, 2]), "train_loss")
    assert not beyond and beyond.worst == pytest.approx(2.5)
    assert not inside(runs_of([8 * (1 + 3 * FLOOR), 4, 2]), "train_loss")


@pytest.mark.parametrize("absent", ["twins", "an epoch"])
def test_runs_that_cannot_be_compared_are_refused(absent: str) -> None:
    runs = runs_of([8, 4, 2])
    if absent == "twins":
        runs = {name: run for name, run in runs.items() if not name.startswith("twin")}
    else:
        runs["jittor"] = run_of([8, 4])
    with pytest.raises(InputError, match="cannot be compared"):
        inside(runs, "train_loss")


def test_a_step_that_was_taken_again_counts_once(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text('{"epoch": 0, "train_loss": 1.5}\n')
    lines = [{"epoch": 0, "step": 0, "loss": 2.0}, {"epoch": 0, "step": 1, "loss": 9.0}] * 2
    lines[-1] = {"epoch": 0, "step": 1, "loss": 1.0}
    (tmp_path / STEPS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [step["loss"] for step in read_curves(tmp_path).steps] == [2.0, 1.0]
    (tmp_path / "log.txt").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_curves(tmp_path)


def test_pictures_are_drawn(tmp_path: Path) -> None:
    written = draw(runs_of([8, 4.05, 2]), tmp_path)
    assert [path.name for path in written] == ["training.png", "steps.png", "ap.png"]
    assert all(path.stat().st_size > 5000 for path in written)


def test_equivalence_is_two_one_sided_tests() -> None:
    values, reference = [0.81, 0.84, 0.79, 0.83, 0.80], [0.80, 0.83, 0.81, 0.82, 0.80]
    found = equivalence("AP", values, reference, 0.05)
    difference = np.subtract(values, reference)
    upper = stats.ttest_1samp(difference, 0.05, alternative="less").pvalue
    lower = stats.ttest_1samp(difference, -0.05, alternative="greater").pvalue
    assert found.p == pytest.approx(max(upper, lower)) and found
    low, high = found.interval
    assert -0.05 < low < found.mean < high < 0.05
    assert not equivalence("AP", values, reference, 0.005)
    assert not equivalence("AP", [value - 0.06 for value in values], reference, 0.05)
    # The interval that the test stands for: it passes where this lies within the margin.
    assert bool(equivalence("AP", values, reference, max(-low, high) * 1.001))
    assert not equivalence("AP", values, reference, max(-low, high) * 0.999)


def test_runs_without_any_spread_are_equivalent_only_within_the_margin() -> None:
    assert equivalence("AP", [0.5] * 3, [0.5] * 3, 0.01)
    assert not equivalence("AP", [0.75] * 3, [0.5] * 3, 0.25)


@pytest.mark.parametrize(
    ("values", "margin"), [([0.5, 0.5], 0.1), ([0.5, 0.5, float("nan")], 0.1), ([0.5, 0.6, 0.7], 0.0)]
)
def test_what_makes_no_test_is_refused(values: list[float], margin: float) -> None:
    with pytest.raises(InputError, match="do not make a test"):
        equivalence("AP", values, [0.5] * len(values), margin)


def test_a_verdict_without_a_test_is_no_pass() -> None:
    assert not ConvergeVerdict({}, (), ())


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    write_coco(folder, replace(EASY, train=8, val=4))
    return folder


def args_of(shapes: Path, **more: object) -> Namespace:
    data = {"coco_path": str(shapes), "image_size": 96, "batch_size": 4, "epochs": 3, "num_workers": 0}
    return training_args(**SMALL, **data, **more)


def test_a_folder_is_of_one_job(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = prepare(TrainJob(args_of(shapes), out))
    assert prepare(TrainJob(args_of(shapes), out)) == first and first.weights.is_file()
    with pytest.raises(InputError, match="other options"):
        prepare(TrainJob(args_of(shapes, lr=1e-3), out))
    with pytest.raises(InputError, match="not an empty folder"):
        prepare(TrainJob(args_of(shapes), shapes))


def test_margins_are_chosen_once(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_run(*_: object) -> None:
        assert (tmp_path / "out" / "margins.json").is_file()  # written before the first run
        raise InputError("no run today")

    monkeypatch.setattr("parity.runs.converge.train_all", no_run)
    job = ConvergeJob(args_of(shapes), tmp_path / "out", 3, 0.05, 0.1)
    with pytest.raises(InputError, match="no run today"):
        converge(job, lambda *_: None)
    with pytest.raises(InputError, match="were chosen before the runs"):
        converge(replace(job, margin_ap=0.5), lambda *_: None)


@pytest.mark.slow
def test_both_frameworks_train_alike_and_another_learning_rate_shows(shapes: Path, tmp_path: Path) -> None:
    job = TrainJob(args_of(shapes, lr=1e-4, lr_backbone=1e-4, eval_train=True), tmp_path / "out", jobs=2)
    verdict = compare_training(job, 2, lambda *_: None)
    assert verdict, verdict.lines()
    assert verdict.first is not None and max(step.error64 for step in verdict.first.steps) < 1e-9
    assert len(verdict.pictures) == 3 and (job.out / "verdict.json").is_file()
    # With the same masks of dropouts and the same batches nothing but rounding is between them.
    assert max(verdict.curves[0].distances) < 1e-3

    again = train_all(job, prepare(job), lambda *_: pytest.fail("a run that was over began again"))
    assert again.keys() == verdict.runs.keys()

    faster = TrainJob(args_of(shapes, lr=1.2e-4, lr_backbone=1e-4, eval_train=True), tmp_path / "fast", twins=1, jobs=2)
    other = train_all(faster, prepare(faster), lambda *_: None)["jittor"]
    assert not inside({**verdict.runs, "jittor": other}, "train_loss")
    assert final(other.of("train_loss")) != final(verdict.runs["jittor"].of("train_loss"))


def test_processors_that_are_forbidden_are_not_counted():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("twin", [0, 1])
def test_twins_compute_without_onednn(monkeypatch: pytest.MonkeyPatch, twin: int) -> None:
    class Built(Exception):
        pass

    def trainer(args: Namespace) -> None:
        raise Built

    monkeypatch.setattr(torch_adapter, "Trainer", trainer)
    before = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    try:
        with pytest.raises(Built):
            torch_adapter.TorchAdapter().train(training_args(**SMALL), twin, lambda *_: None)
        assert torch.backends.mkldnn.enabled == (not twin)
    finally:
        torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled = before
