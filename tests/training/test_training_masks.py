"""Losses, gradients and steps of a detector with a mask head."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import weight_convert
from detr_common.errors import InputError
from detr_common.options import default_args
from fixtures import initial_state_dict
from parity.batch import mirrored
from parity.demo import write_seeded_checkpoint
from parity.frameworks.base import Batch
from parity.ladder import training_batch
from parity.layers import LayersJob, LayersSession
from parity.steps import StepsJob, compare_steps
from parity.training import TrainingJob, compare_gradients, compare_losses

SMALL = {
    "masks": True, "backbone": "resnet18", "enc_layers": 1, "dec_layers": 2, "hidden_dim": 128, "nheads": 8,
    "dim_feedforward": 64, "num_queries": 6, "dropout": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    args = default_args(**SMALL)
    weights = write_seeded_checkpoint(args, tmp_path_factory.mktemp("weights") / "seeded.pkl")
    batch = training_batch(64)
    return TrainingJob(LayersJob(args, weights, batch.images), batch)


def test_losses_of_masks_agree(session: LayersSession, job: TrainingJob) -> None:
    verdict = compare_losses(session, job)
    assert verdict, verdict.first_divergence
    names = {j.name for j in verdict.judgements}
    assert {"loss/loss_mask", "loss/loss_dice", "forward/criterion.masks.focal"} <= names
    assert not names & {"loss/loss_mask_0", "loss/loss_dice_0"}, "of earlier layers masks are not compared"


def test_gradients_of_masks_agree(session: LayersSession, job: TrainingJob) -> None:
    verdict = compare_gradients(session, job)
    assert verdict, verdict.first_divergence
    names = {j.name for j in verdict.judgements}
    assert {"grad/mask_head.out_lay.weight", "grad/bbox_attention.k_linear.weight", "gradout/mask_head.gn5"} <= names


def test_a_frozen_detector_takes_no_gradient(session: LayersSession, job: TrainingJob) -> None:
    frozen = replace(job.model, args=default_args(**SMALL, frozen_weights="detector.pth"))
    verdict = compare_gradients(session, replace(job, model=frozen))
    assert verdict, verdict.first_divergence
    of_weights = {j.name for j in verdict.judgements if j.name.startswith("grad/")}
    assert of_weights and not any(name.startswith("grad/detr.") for name in of_weights)


@pytest.mark.slow
def test_steps_with_masks_agree(session: LayersSession, job: TrainingJob) -> None:
    verdict = compare_steps(session, StepsJob(job.model, (job.batch, mirrored(job.batch)), free=10))
    assert verdict, verdict.findings[:3]
    assert max(step.error64 for step in verdict.steps) <= 1e-9


@pytest.mark.slow
def test_a_bias_that_is_zero_by_symmetry_is_judged_by_the_rate(
    session: LayersSession, job: TrainingJob, tmp_path: Path
) -> None:
    """From initial weights: in front of the last group norm, of eight channels in eight groups, it begins at zero."""
    weights = tmp_path / "initial.pkl"
    weight_convert.write({"model": initial_state_dict(job.model.args)}, weights)
    model = replace(job.model, weights=weights)
    verdict = compare_steps(session, StepsJob(model, (job.batch, mirrored(job.batch)), forced=0, free=3))
    assert verdict, verdict.findings[:3]
    planted = replace(model, mutant="decay-coupled", args=default_args(**SMALL, weight_decay=1e-2))
    assert not compare_steps(session, StepsJob(planted, (job.batch, mirrored(job.batch)), forced=0, free=3))


@pytest.mark.slow
def test_masks_of_empty_images_and_of_more_objects_than_queries(session: LayersSession, job: TrainingJob) -> None:
    image = job.batch.images[0]
    sides = image.shape[1:]
    empty = Batch([image], [np.zeros(0, np.int64)], [np.zeros((0, 4), np.float32)], [np.zeros((0, *sides), bool)])
    assert compare_losses(session, replace(job, batch=empty))
    assert compare_gradients(session, replace(job, batch=empty))
    boxes = np.stack([np.array([0.1 + 0.06 * i, 0.5, 0.1, 0.2 + 0.01 * i], np.float32) for i in range(9)])
    masks = np.random.default_rng(0).random((9, *sides)) < 0.4
    assert compare_losses(session, replace(job, batch=Batch([image], [np.arange(9)], [boxes], [masks])))


def test_masks_that_are_missing_are_refused(session: LayersSession, job: TrainingJob) -> None:
    with pytest.raises(InputError, match="image 0 has no masks"):
        compare_losses(session, replace(job, batch=replace(job.batch, masks=())))
    shorter = [mask[:0] for mask in job.batch.masks]
    with pytest.raises(InputError, match=r"image 0 has masks \[0, 85, 64\]; for 1 objects"):
        compare_losses(session, replace(job, batch=replace(job.batch, masks=shorter)))
