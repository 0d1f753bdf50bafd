"""The rung of data: it passes on what both read, and fails on a bit, a type, a name or a batch that differs."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from detr_common.options import training_args
from fixtures.coco import Drawn, write_coco
from parity import data
from parity.cli import main
from parity.data import DataJob, DataVerdict, compare_data
from parity.trace import Entry


def job(folder: Path) -> DataJob:
    write_coco(folder, Drawn(train=5, val=2))
    return DataJob(training_args(coco_path=str(folder), image_size=96, batch_size=2, num_workers=1), epochs=2)


def test_both_frameworks_read_the_same(tmp_path: Path) -> None:
    verdict = compare_data(job(tmp_path / "coco"))
    assert verdict, verdict.different
    # Two epochs of two batches, of which the fifth photograph is left out; one batch for validation.
    assert verdict.images == 2 * 4 + 2
    assert verdict.compared == 5 * 2 + verdict.images * 7


def test_coco_is_read_alike(coco_photographs: list[Path]) -> None:
    if not coco_photographs:
        pytest.skip("no photographs of COCO beside the checkout")
    args = training_args(coco_path=str(coco_photographs[0].parents[1]), image_size=200, batch_size=4)
    verdict = compare_data(DataJob(args))
    assert verdict, verdict.different
    assert verdict.images == 128 + 50


class Canned:
    """A worker that says what it was given to say."""

    entries_of: ClassVar[dict[str, list[Entry]]] = {}

    def __init__(self, framework: str) -> None:
        self.framework = self.label = framework
        self.failure = ""

    def __enter__(self) -> "Canned":
        return self

    def __exit__(self, *_: object) -> None: ...

    def wait_built(self) -> None: ...

    def ask(self, *_: object, **__: object) -> None: ...

    def entries(self) -> Iterator[Entry]:
        return iter(self.entries_of[self.framework])


def entry(name: str, array: Any) -> Entry:
    return Entry(f"train/epoch0/batch0/{name}", "data", "", np.asarray(array))


IMAGE = np.arange(6, dtype=np.float32).reshape(2, 3) - 3
ONE_BIT = np.nextafter(IMAGE, np.float32(9))
NEGATIVE_ZERO = np.where(IMAGE == 0, np.float32(-0.0), IMAGE)
FAULTS: dict[str, tuple[list[Entry], str]] = {
    "a bit": ([entry("images", np.where(IMAGE == 2, ONE_BIT, IMAGE)), entry("labels.0", [1])], "images: 1 of 6 values"),
    "a sign of zero": ([entry("images", NEGATIVE_ZERO), entry("labels.0", [1])], "images: 0 of 6 values differ"),
    "a dtype": ([entry("images", IMAGE.astype(np.float64)), entry("labels.0", [1])], "[2, 3] and float64 [2, 3]"),
    "a shape": ([entry("images", IMAGE.T), entry("labels.0", [1])], "float32 [2, 3] and float32 [3, 2]"),
    "an array less": ([entry("images", IMAGE)], "labels.0: only in torch"),
    "an array more": ([entry("images", IMAGE), entry("labels.0", [1]), entry("x", [1])], "x: only in jittor"),
    "another name": ([entry("images", IMAGE), entry("labels.1", [1])], "stands where"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_differs_fails(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    entries, words = FAULTS[name]
    Canned.entries_of = {"torch": [entry("images", IMAGE), entry("labels.0", [1])], "jittor": entries}
    monkeypatch.setattr(data, "Worker", Canned)
    verdict = compare_data(DataJob(training_args(coco_path=".")))
    assert not verdict and len(verdict.different) == 1 and words in verdict.different[0]


def test_nothing_compared_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    Canned.entries_of = {"torch": [], "jittor": []}
    monkeypatch.setattr(data, "Worker", Canned)
    assert not compare_data(DataJob(training_args(coco_path=".")))
    assert not DataVerdict(0, 0, ())


def test_a_folder_that_is_not_there_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["parity", "data", "--coco_path", "nowhere"])
    monkeypatch.setattr("parity.data.Worker", None)  # no process is started for it
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("error: --coco_path nowhere: no such folder")
