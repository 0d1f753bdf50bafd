"""The rungs losses, gradients and steps on a small detector: they pass, see everything, and change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detr_common.errors import InputError
from detr_common.options import default_args
from parity.batch import mirrored
from parity.choices import WANTED
from parity.demo import write_seeded_checkpoint
from parity.frameworks.base import Batch
from parity.ladder import RUNGS, LadderJob, LadderVerdict, climb, training_batch
from parity.layers import LayersJob, LayersSession
from parity.mutants.kills import SMALL
from parity.rungs import RUNS, TRUTH
from parity.steps import StepsJob, compare_steps
from parity.training import TrainingJob, compare_gradients, compare_losses, silent
from parity.turns import in_turns


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    args = default_args(**SMALL)
    weights = write_seeded_checkpoint(args, tmp_path_factory.mktemp("weights") / "seeded.pkl")
    batch = training_batch(64)
    return TrainingJob(LayersJob(args, weights, batch.images), batch)


def test_losses_agree(session: LayersSession, job: TrainingJob) -> None:
    verdict = compare_losses(session, job)
    assert verdict, verdict.first_divergence
    names = {j.name for j in verdict.judgements}
    assert {"loss/loss_ce", "loss/loss_giou_0", "loss/class_error", "loss/total"} <= names
    assert any(name.startswith("forward/criterion.matcher[") for name in names)
    assert verdict.worst64 <= 1e-12
    print(
        f"\n  losses: {verdict.compared} tensors, float64 {verdict.worst64:.1e}, float32 {verdict.worst_ratio_max:.2f}"
    )


def test_gradients_agree(session: LayersSession, job: TrainingJob) -> None:
    verdict = compare_gradients(session, job)
    assert verdict, verdict.first_divergence
    names = {j.name for j in verdict.judgements}
    assert {"grad/class_embed.weight", "gradout/transformer.encoder.layers.0.norm1"} <= names
    assert "grad/backbone.0.body.conv1.weight" not in names, "the stem is frozen"
    assert all("layers.0.self_attn" in name for name in verdict.absolute), verdict.absolute
    print(
        f"\n  gradients: {verdict.compared} tensors, float64 {verdict.worst64:.1e}, float32 95 of 100 "
        f"{verdict.typical_ratio:.2f}, worst {verdict.worst_ratio:.2f}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_steps_agree(session: LayersSession, job: TrainingJob, dropout: float) -> None:
    args = default_args(**{**SMALL, "dropout": dropout})
    batches = job.batch, mirrored(job.batch)
    verdict = compare_steps(session, StepsJob(replace(job.model, args=args), batches, free=10))
    assert verdict, verdict.findings[:3]
    assert len(verdict.steps) == 10
    assert max(step.error64 for step in verdict.steps) <= 1e-9
    assert len({step.loss for step in verdict.steps}) == 10, "every step changes the loss"
    print(f"\n  forced: {verdict.ulps}; free: {max(s.error64 for s in verdict.steps):.1e}")


@pytest.mark.gpu
def test_losses_gradients_and_steps_agree_on_a_gpu(session: LayersSession, job: TrainingJob) -> None:
    on_gpu = replace(job.model, args=default_args(**{**SMALL, "device": "cuda"}))
    training = replace(job, model=on_gpu)
    for verdict in (
        compare_losses(session, training),
        compare_gradients(session, training),
        compare_steps(session, StepsJob(on_gpu, (job.batch, mirrored(job.batch)), forced=2, free=4)),
    ):
        assert verdict, verdict.first_divergence


@pytest.mark.slow
def test_capturing_changes_no_gradient(session: LayersSession, job: TrainingJob) -> None:
    session.build(job.model)
    reference = session.workers[TRUTH]
    reference.ask("choose", job.batch.arrays())
    wanted = {name: array for name, array in reference.answer().items() if name.startswith(WANTED)}
    found = []
    for given in ({}, wanted):
        for worker in session.workers.values():
            worker.ask("gradients", {**job.batch.arrays(), **given}, split=False)
        arrays = {(run, entry.name): entry.array for run, entry, _ in in_turns(session.workers, silent)}
        found.append({key: array for key, array in arrays.items() if key[1].startswith("grad/")})
    plain, captured = found
    assert plain.keys() == captured.keys() and len(plain) > 80 * len(RUNS)
    different = [key for key, array in plain.items() if not np.array_equal(array, captured[key])]
    assert not different


@pytest.mark.slow
def test_only_empty_images_and_more_objects_than_queries(session: LayersSession, job: TrainingJob) -> None:
    empty = Batch(job.batch.images[:1], [np.zeros(0, np.int64)], [np.zeros((0, 4), np.float32)])
    assert compare_losses(session, replace(job, batch=empty))
    assert compare_gradients(session, replace(job, batch=empty))
    boxes = np.stack([np.array([0.1 + 0.03 * i, 0.5, 0.1, 0.2 + 0.01 * i], np.float32) for i in range(25)])
    crowded = Batch(job.batch.images[:1], [np.arange(25)], [boxes])
    assert compare_losses(session, replace(job, batch=crowded))


def test_unusable_targets_are_refused(session: LayersSession, job: TrainingJob) -> None:
    labels = [np.array([91]), *job.batch.labels[1:]]
    with pytest.raises(InputError, match="label 91"):
        compare_losses(session, replace(job, batch=replace(job.batch, labels=labels)))
    assert compare_losses(session, job), "the workers go on after a refusal"


def test_a_rung_that_is_left_out_or_compares_nothing_fails(session: LayersSession, job: TrainingJob) -> None:
    ran: list[str] = []
    model = replace(job.model, images=job.batch.images)
    ladder = LadderJob(model, job.batch, forced=1, free=1, rungs=("losses",))
    verdict = climb(session, ladder, silent, lambda one: ran.append(one.rung))
    assert verdict and ran == ["losses"]
    assert not LadderVerdict(("losses", "steps"), verdict.verdicts)
    assert not LadderVerdict((), ())
    assert LadderVerdict(("losses", "steps"), verdict.verdicts).left_out == ["steps"]


@pytest.mark.slow
def test_weights_of_another_seed_fail_in_every_rung(session: LayersSession, job: TrainingJob, tmp_path: Path) -> None:
    other = write_seeded_checkpoint(default_args(**SMALL, seed=7), tmp_path / "other.pkl")
    model = replace(job.model, port_weights=other)
    ladder = LadderJob(model, job.batch, forced=1, free=1, rungs=RUNGS[1:])
    verdict = climb(session, ladder, silent)
    assert [bool(one) for one in verdict.verdicts] == [False] * 4
