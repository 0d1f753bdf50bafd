"""What is wrong with a data set is said before training, with the file and the id."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_common.coco import build_dataset
from detr_common.errors import InputError
from detr_common.options import training_args
from fixtures.coco import Drawn, write_coco

Content = dict[str, Any]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "coco"
    write_coco(folder, Drawn(train=12, val=3))
    return folder


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "coco"))


def edit(folder: Path, change: Callable[[Content], object]) -> None:
    path = folder / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(InputError) as refused:
        build_dataset("train", training_args(coco_path=str(folder), **options))
    return str(refused.value)


CHANGES: dict[str, tuple[Callable[[Content], object], str]] = {
    "unknown image": (lambda c: c["annotations"][0].update(image_id=5), "annotation id 1 is of image id 5, which"),
    "unknown category": (
        lambda c: c["annotations"][1].update(category_id=4),
        "annotation id 2 of image id 1003 (000000001003.png) has category id 4",
    ),
    "negative size": (lambda c: c["annotations"][2].update(bbox=[1, 2, -3, 4]), "has bbox [1, 2, -3, 4]; width and"),
    "no number": (lambda c: c["annotations"][2].update(bbox=[1, 2, float("nan"), 4]), "[1, 2, nan, 4]; it is four"),
    "three numbers": (lambda c: c["annotations"][2].update(bbox=[1, 2, 3]), "it is four finite numbers"),
    "no area": (lambda c: c["annotations"][2].pop("area"), "has area None"),
    "no images": (lambda c: c.update(images=[]), "has no images"),
    "no categories": (lambda c: c.pop("categories"), "has no list of categories"),
    "id twice": (lambda c: c["images"][1].update(id=c["images"][0]["id"]), "image id 1000 is there twice"),
    "id of text": (lambda c: c["images"][1].update(id="1"), "image number 1 has no integer id"),
    "no width": (lambda c: c["images"][1].pop("width"), "image id 1003 (000000001003.png) has no width and height"),
    "other width": (lambda c: c["images"][1].update(width=5000), "(image id 1003) is "),
    "no file name": (lambda c: c["images"][1].pop("file_name"), "image id 1003 has no file_name"),
    "high category": (lambda c: c["categories"].append({"id": 91, "name": "x"}), "give a --num_classes of at least 92"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_wrong_annotations(folder: Path, name: str) -> None:
    change, words = CHANGES[name]
    edit(folder, change)
    message = refusal(folder)
    assert words in message and "instances_train2017.json" in message


def test_more_classes_take_higher_categories(folder: Path) -> None:
    edit(folder, CHANGES["high category"][0])
    assert len(build_dataset("train", training_args(coco_path=str(folder), num_classes=92))) == 12


def test_classes_that_are_too_few(folder: Path) -> None:
    assert "category ids [44] are not below 20" in refusal(folder, num_classes=20)


def test_photographs_that_are_missing_or_damaged(folder: Path) -> None:
    photographs = sorted((folder / "train2017").iterdir())
    photographs[0].unlink()
    data = photographs[1].read_bytes()
    photographs[1].write_bytes(data[: len(data) // 2])
    photographs[2].write_bytes(b"no picture")
    message = refusal(folder)
    assert "3 photographs:" in message
    assert f"{photographs[0]} (image id 1000) is missing" in message
    assert f"image id 1003: {photographs[1]}: the image is damaged" in message
    assert f"{photographs[2]} (image id 1006) is not an image" in message


def test_a_truncated_jpeg(folder: Path) -> None:
    path = folder / "train2017" / "000000001000.png"
    with Image.open(path) as image:
        image.convert("RGB").save(path.with_suffix(".jpg"))
    path = path.with_suffix(".jpg")
    edit(folder, lambda c: c["images"][0].update(file_name=path.name))
    assert len(build_dataset("train", training_args(coco_path=str(folder)))) == 12
    path.write_bytes(path.read_bytes()[:-200])
    assert f"image id 1000: {path}: the image is damaged" in refusal(folder)


def test_files_and_folders_that_are_not_there(folder: Path) -> None:
    with pytest.raises(InputError, match="--coco_path: name the folder"):
        build_dataset("train", training_args())
    assert "no such folder" in refusal(folder / "elsewhere")
    path = folder / "annotations" / "instances_train2017.json"
    path.write_text("")
    assert f"{path}: is empty or no JSON" in refusal(folder)
    path.write_text("[]")
    assert "has no list of images, annotations, categories" in refusal(folder)
    path.unlink()
    assert f"{path}: no such file" in refusal(folder)


def test_items_are_as_annotated(folder: Path) -> None:
    dataset = build_dataset("train", training_args(coco_path=str(folder), augment=False, image_size=96))
    content = json.loads((folder / "annotations" / "instances_train2017.json").read_text())
    for index, entry in enumerate(sorted(content["images"], key=lambda one: one["id"])):
        image, target = dataset[index]
        wanted = [o for o in content["annotations"] if o["image_id"] == entry["id"] and not o["iscrowd"]]
        assert target["image_id"].tolist() == [entry["id"]]
        assert target["labels"].tolist() == [one["category_id"] for one in wanted]
        assert min(image.shape[1:]) == 96 and image.shape[0] == 3
        sides = np.array([entry["width"], entry["height"]] * 2, np.float64)
        boxes = np.array([one["bbox"] for one in wanted]).reshape(-1, 4)
        boxes[:, :2] += boxes[:, 2:] / 2
        np.testing.assert_allclose(target["boxes"], boxes / sides, atol=1e-6)
    assert any(one["iscrowd"] for one in content["annotations"])
