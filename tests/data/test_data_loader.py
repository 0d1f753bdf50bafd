"""Batches: the same with any number of workers, anew each epoch, shared out among processes, gone on with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_common.coco import CocoDetection, build_dataset
from detr_common.evaluate import evaluate_boxes
from detr_common.loader import Batch, Loader
from detr_common.options import training_args
from fixtures.coco import CATEGORIES, Drawn, write_coco


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CocoDetection:
    folder = tmp_path_factory.mktemp("drawn") / "coco"
    write_coco(folder, Drawn(train=11, val=3))
    return build_dataset("train", training_args(coco_path=str(folder), image_size=96))


def same(left: list[Batch], right: list[Batch]) -> bool:
    def flat(batches: list[Batch]) -> list[Any]:
        return [a for images, targets in batches for a in [*images, *(v for t in targets for v in t.values())]]

    pairs = list(zip(flat(left), flat(right), strict=True))
    return bool(pairs) and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def test_workers_change_nothing(dataset: CocoDetection) -> None:
    with Loader(dataset, 2, 0, shuffle=True, seed=3) as alone, Loader(dataset, 2, 2, shuffle=True, seed=3) as many:
        for epoch in (0, 1):
            assert same(list(alone.epoch(epoch)), list(many.epoch(epoch)))
        assert not same(list(alone.epoch(0)), list(alone.epoch(1)))
        assert same(list(alone.epoch(0)), list(alone.epoch(0)))


def test_an_epoch_can_be_gone_on_with(dataset: CocoDetection) -> None:
    loader = Loader(dataset, 2, shuffle=True, seed=3)
    assert same(list(loader.epoch(4))[2:], list(loader.epoch(4, 2)))


def test_each_photograph_once_and_a_part_of_a_batch_only_in_evaluation(dataset: CocoDetection) -> None:
    ordered = Loader(dataset, 4).indices(0)
    assert ordered == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    drawn = Loader(dataset, 4, shuffle=True).indices(0)
    assert [len(batch) for batch in drawn] == [4, 4] and len({i for batch in drawn for i in batch}) == 8


def test_processes_share_out_the_batches_of_one(dataset: CocoDetection) -> None:
    whole = Loader(dataset, 4, shuffle=True, seed=1).indices(2)
    parts = [Loader(dataset, 2, shuffle=True, seed=1, rank=rank, world_size=2).indices(2) for rank in (0, 1)]
    for together, first, second in zip(whole, *parts, strict=True):
        assert sorted(first + second) == sorted(together) and len(first) == len(second) == 2


def test_what_is_drawn_is_in_coco_s_form(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_coco(tmp_path / name, Drawn(train=30, val=10))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 84  # a photograph and its panoptic PNG for each of 40, and two annotation files for each part
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    dataset = build_dataset("train", training_args(coco_path=str(tmp_path / "a")))
    counts = [len(dataset.annotations.of_image(image["id"])) for image in dataset.annotations.images]
    assert 0 in counts and max(counts) >= 4
    assert set(dataset.annotations.categories) == set(CATEGORIES)
    objects = [one for image in dataset.annotations.images for one in dataset.annotations.of_image(image["id"])]
    assert {one["iscrowd"] for one in objects} == {0, 1}


def test_truth_against_itself_is_perfect_and_other_ids_are_not(dataset: CocoDetection) -> None:
    truth = dataset.annotations
    found = [
        {"image_id": image["id"], "category_id": one["category_id"], "bbox": one["bbox"], "score": 0.9}
        for image in truth.images
        for one in truth.of_image(image["id"])
        if not one["iscrowd"]
    ]
    assert evaluate_boxes(truth, found)["AP"] == 1
    order = sorted(truth.categories)
    contiguous = [{**one, "category_id": order.index(one["category_id"])} for one in found]
    assert evaluate_boxes(truth, contiguous)["AP"] == 0
    assert evaluate_boxes(truth, [])["AP"] == 0
