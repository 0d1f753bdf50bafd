"""Workers that compute one after another, as on large photographs: the verdicts are those of all at once."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_common.errors import InputError
from detr_common.options import default_args
from parity.batch import LARGE, is_large, mirrored
from parity.demo import write_seeded_checkpoint
from parity.ladder import training_batch
from parity.layers import LayersJob, LayersSession
from parity.mutants.kills import SMALL
from parity.rungs import TRUTH
from parity.steps import StepsJob, compare_steps
from parity.store import Place, Store
from parity.trace import Array
from parity.training import TrainingJob, compare_gradients, compare_losses
from parity.turns import spooled

Compare = Callable[[LayersSession, TrainingJob], Any]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    args = default_args(**{**SMALL, "dropout": 0.1})
    weights = write_seeded_checkpoint(args, tmp_path_factory.mktemp("weights") / "seeded.pkl")
    batch = training_batch((64, 96))
    return TrainingJob(LayersJob(args, weights, batch.images), batch)


@pytest.fixture
def one_by_one(session: LayersSession) -> Iterator[Callable[[bool], None]]:
    yield lambda sparing: setattr(session, "sparing", sparing)
    session.sparing = False


def layers(session: LayersSession, job: TrainingJob) -> Any:
    return session.compare(job.model)


def steps(session: LayersSession, job: TrainingJob) -> Any:
    return compare_steps(session, StepsJob(job.model, (job.batch, mirrored(job.batch)), forced=2, free=2, drop=1))


@pytest.mark.parametrize(
    "compare", [layers, compare_losses, compare_gradients, pytest.param(steps, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("mutant", ["", "attention-scale-missing"])
def test_one_by_one_is_judged_as_all_at_once(
    session: LayersSession, job: TrainingJob, one_by_one: Callable[[bool], None], compare: Compare, mutant: str
) -> None:
    job = replace(job, model=replace(job.model, mutant=mutant))
    verdicts = []
    for sparing in (False, True):
        one_by_one(sparing)
        verdicts.append(compare(session, job).as_dict())
    assert verdicts[0]["passed"] is (not mutant)
    assert verdicts[1] == verdicts[0]


def test_a_batch_is_large_by_its_padded_pixels() -> None:
    assert not is_large([])
    assert not is_large(training_batch(96).images)
    batch = training_batch((512, 512)).images
    assert max(image.shape[1] for image in batch) == max(image.shape[2] for image in batch) == 512
    assert is_large(batch)
    assert not is_large(batch[:1]), f"a single one has {512 * 512} of {LARGE} pixels"


@pytest.mark.slow
def test_gradients_of_more_than_can_be_held_come_in_parts(
    session: LayersSession, tmp_path_factory: pytest.TempPathFactory
) -> None:
    args = default_args()
    weights = write_seeded_checkpoint(args, tmp_path_factory.mktemp("large") / "seeded.pkl")
    batch = training_batch((288, 288))
    verdict = compare_gradients(session, TrainingJob(LayersJob(args, weights, batch.images), batch))
    assert verdict, verdict.first_divergence
    assert verdict.compared > 1300


def spooled_and_sent(session: LayersSession, job: TrainingJob) -> tuple[dict[str, Array], dict[str, Array]]:
    """What a worker puts into a spool, and what it sends when asked for the same."""
    session.build(job.model)
    worker = session.workers[TRUTH]
    with spooled(worker, partial(job.model.start, worker), worker.entries()) as spool:
        found = spool.read_all()
    assert worker.spool is None
    job.model.start(worker)
    return found, {entry.name: entry.array for entry in worker.entries()}


def refuse(*_: object) -> None:
    raise AssertionError("the asking process has written to the spool itself")


@pytest.mark.skipif(sys.platform != "linux", reason="files without a name have one for other processes on Linux only")
def test_a_worker_writes_its_tensors_to_the_spool_itself(
    session: LayersSession, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "append", refuse)
    found, sent = spooled_and_sent(session, job)
    assert len(found) == len(sent) > 100
    for name, array in sent.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_a_spool_that_a_worker_cannot_open_is_written_by_the_asking_process(
    session: LayersSession, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parity.client.place_of", lambda file: Place("/nowhere/spool", 0, 0))
    found, sent = spooled_and_sent(session, job)
    assert len(found) == len(sent) > 100
    for name, array in sent.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_worker_that_finds_the_disk_full_says_what_to_do_and_can_be_asked_again(
    session: LayersSession, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full, pytest.raises(InputError, match=r"no room for more .*; set TMPDIR to a folder"):
        full.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "r+b"))
        spooled_and_sent(session, job)
    assert session.usable
    found, _ = spooled_and_sent(session, job)
    assert found
