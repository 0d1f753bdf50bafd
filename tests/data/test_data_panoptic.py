"""Panoptic data: what is drawn and COCO's own load whole, zipped lists would fail, and what is wrong is said before."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_common.categories import COCO, STUFF
from detr_common.coco import build_dataset
from detr_common.errors import InputError
from detr_common.evaluate import Found, evaluate_found
from detr_common.masks import boxes_of
from detr_common.options import training_args
from detr_common.panoptic import COLOURS, CocoPanoptic, to_colours, to_ids
from detr_common.segments import from_png, to_png
from fixtures.coco import CATEGORIES, Drawn, write_coco
from fixtures.panoptic import STUFF as DRAWN_STUFF

ROOT = Path(__file__).resolve().parents[2]
COCO_FOLDER, PANOPTIC_FOLDER = (ROOT.parent / "shared" / name for name in ("coco", "coco_panoptic"))
needs_coco = pytest.mark.skipif(not PANOPTIC_FOLDER.is_dir(), reason="no COCO photographs beside the checkout")
Content = dict[str, Any]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "coco"
    write_coco(folder, Drawn(train=12, val=4))
    return folder


def dataset(folder: Path, part: str = "train", panoptic: Path | None = None, **options: Any) -> CocoPanoptic:
    paths = {"coco_path": str(folder), "coco_panoptic_path": str(panoptic or folder)}
    found = build_dataset(part, training_args(dataset_file="coco_panoptic", **paths, **{"masks": True, **options}))
    assert isinstance(found, CocoPanoptic)
    return found


def truth_of(there: CocoPanoptic, kept: Callable[[dict[str, Any]], bool] = lambda segment: True) -> Found:
    """Return the annotations as a detector would have found them, crowds apart, which nothing is to find."""
    found = Found()
    for image in there.images:
        ids = there.panoptic.ids(image["id"])
        segments = [one for one in there.panoptic.segments[image["id"]] if not one["iscrowd"] and kept(one)]
        masks = np.array([ids == one["id"] for one in segments]).reshape(-1, 1, *ids.shape)
        result = {
            "scores": np.ones(len(segments)),
            "labels": np.array([one["category_id"] for one in segments]),
            "boxes": boxes_of(masks[:, 0]) + np.array([0, 0, 1, 1]),
            "masks": masks,
        }
        shown = np.where(np.isin(ids, [one["id"] for one in segments]), ids, 0)
        entries = [{key: one[key] for key in ("id", "category_id", "area")} for one in segments]
        found.add(image["id"], result, {"png_string": to_png(shown), "segments_info": entries})
    return found


def test_ids_are_colours_and_back() -> None:
    ids = np.array([[0, 1, 255, 256], [65535, 65536, COLOURS - 1, 0x030201]], np.int32)
    assert to_colours(ids)[1, 3].tolist() == [1, 2, 3]  # red counts least
    assert np.array_equal(to_ids(to_colours(ids)), ids) and np.array_equal(from_png(to_png(ids)), ids)


def test_what_is_drawn_is_what_is_annotated(drawn: Path) -> None:
    there = dataset(drawn, augment=False, image_size=96)
    crowds = 0
    for i, image in enumerate(there.images):
        target = there.target(image)
        ids, segments = there.panoptic.ids(image["id"]), there.panoptic.segments[image["id"]]
        assert {one["id"] for one in segments} == set(np.unique(ids).tolist()) - {0}
        assert [one["area"] for one in segments] == [int((ids == one["id"]).sum()) for one in segments]
        assert target["masks"].sum(axis=(1, 2)).tolist() == target["area"].tolist()
        assert np.array_equal(target["boxes"], boxes_of(target["masks"]))
        assert {one["category_id"] for one in segments} <= {*CATEGORIES, *DRAWN_STUFF}
        crowds += int(target["iscrowd"].sum())
        # What instances tell of the same objects, in the same pixels.
        assert there.instances is not None
        objects = there.instances.of_image(image["id"])
        assert len(objects) == len(segments) - len(DRAWN_STUFF)
        assert there[i][1]["masks"].shape[1:] == there[i][0].shape[1:]
    assert crowds and max(one["id"] for s in there.panoptic.segments.values() for one in s) > 65536


def test_a_segment_one_pixel_wide_has_no_box_and_is_left_out(drawn: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(drawn, tmp_path / "coco"))
    image_id, ids = thin(folder)
    there = dataset(folder)
    segments = there.panoptic.segments[image_id]
    target = there.target(next(image for image in there.images if image["id"] == image_id))
    assert len(target["labels"]) == len(segments) - 1 and not any(
        (mask == (ids == 77)).all() for mask in target["masks"]
    )


def thin(folder: Path) -> tuple[int, Any]:
    """Give the first photograph a segment of one column; return its id and the ids of its pixels."""
    path = folder / "annotations" / "panoptic_train2017.json"
    content = json.loads(path.read_text())
    one = content["annotations"][0]
    png = folder / "panoptic_train2017" / one["file_name"]
    ids = to_ids(np.asarray(Image.open(png))).copy()
    ids[3:30, 5] = 77
    Image.fromarray(to_colours(ids)).save(png)
    one["segments_info"].append({"id": 77, "category_id": 3, "iscrowd": 0, "area": 27})
    path.write_text(json.dumps(content))
    return one["image_id"], ids


@needs_coco
@pytest.mark.parametrize(("part", "count"), [("train", 100), ("val", 40)])
def test_coco_loads_whole_and_against_itself_is_perfect(part: str, count: int) -> None:
    there = dataset(COCO_FOLDER, part, PANOPTIC_FOLDER, image_size=96, augment=False)
    assert len(there) == count
    for image in there.images:
        target = there.target(image)
        assert len(target["labels"]) and np.array_equal(target["boxes"], boxes_of(target["masks"]))
    figures = evaluate_found(there, truth_of(there))
    assert [figures[name] for name in ("PQ_all", "PQ_th", "PQ_st", "SQ_all", "RQ_all")] == [1.0] * 5
    things = {key for key, thing in there.panoptic.things.items() if thing}
    assert things == set(COCO) and {*there.panoptic.categories} - things == set(STUFF)
    assert {key: one["name"] for key, one in there.panoptic.categories.items()} == COCO | STUFF
    if part == "train":  # of the photographs for validation there are no instances
        assert figures["AP50"] > 0.95 and figures["mask_AP50"] > 0.95
    else:
        assert "AP" not in figures and "mask_AP" not in figures


@needs_coco
@pytest.mark.parametrize("part", ["train", "val"])
def test_a_loader_that_zips_the_two_lists_would_fail(part: str) -> None:
    content = json.loads((PANOPTIC_FOLDER / "annotations" / f"panoptic_{part}2017.json").read_text())
    pairs = list(zip(content["images"], content["annotations"], strict=True))
    apart = [image["file_name"] for image, one in pairs if image["id"] != one["image_id"]]
    assert apart, "the lists are parallel after all"
    # Ours goes by the ids: the photograph is the one that the PNG is of.
    there = dataset(COCO_FOLDER, part, PANOPTIC_FOLDER)
    assert all(there.panoptic.files[i["id"]].split(".")[0] == i["file_name"].split(".")[0] for i in there.images)
    zipped = [image["id"] for image, one in pairs if (image["height"], image["width"]) != size_of(part, one)]
    assert zipped, "every zipped pair has one size, so that sizes would not tell"


def size_of(part: str, one: Content) -> tuple[int, int]:
    with Image.open(PANOPTIC_FOLDER / f"panoptic_{part}2017" / one["file_name"]) as image:
        return image.height, image.width


def test_lists_in_another_order_make_no_difference(drawn: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(drawn, tmp_path / "coco"))
    before = [dataset(folder)[i] for i in range(12)]
    edit(folder, lambda content: (content["images"].reverse(), content["annotations"].sort(key=str)))
    for (image, target), (image_after, target_after) in zip(
        before, [dataset(folder)[i] for i in range(12)], strict=True
    ):
        assert np.array_equal(image, image_after)
        assert all(np.array_equal(target[key], target_after[key]) for key in target)


def edit(folder: Path, change: Callable[[Content], object]) -> None:
    path = folder / "annotations" / "panoptic_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def of_first(change: Callable[[Content], object]) -> Callable[[Path, Path], None]:
    return lambda folder, png: edit(folder, lambda content: change(content["annotations"][0]))


def of_segment(change: Callable[[Content], object]) -> Callable[[Path, Path], None]:
    return of_first(lambda one: change(one["segments_info"][0]))


def painted(change: Callable[[Any], None]) -> Callable[[Path, Path], None]:
    def paint(folder: Path, png: Path) -> None:
        ids = to_ids(np.asarray(Image.open(png))).copy()
        change(ids)
        Image.fromarray(to_colours(ids)).save(png)

    return paint


def resized(folder: Path, png: Path) -> None:
    Image.open(png).resize((40, 30)).save(png)


CHANGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "PNG of another size": (resized, "000000001000.png (image id 1000) is 40x30 pixels"),
    "PNG missing": (lambda folder, png: png.unlink(), "000000001000.png (image id 1000) is missing"),
    "PNG cut off": (lambda folder, png: png.write_bytes(png.read_bytes()[:200]), "image id 1000: "),
    "segment not in the PNG": (of_segment(lambda s: s.update(id=5)), "(image id 1000) has no pixel of segment id 5"),
    "segment not annotated": (painted(lambda ids: ids.__setitem__((0, 0), 9)), "has pixels of segment id 9, of which"),
    "unknown category": (of_segment(lambda s: s.update(category_id=50)), "of category id 50, which is not among"),
    "segment twice": (of_first(lambda one: one["segments_info"].append(one["segments_info"][0])), " twice"),
    "id that is no colour": (of_segment(lambda s: s.update(id=2**24)), "it is an integer from 1 to 16777215"),
    "id 0, which is nobody's": (of_segment(lambda s: s.update(id=0)), "it is an integer from 1 to 16777215"),
    "negative area": (of_segment(lambda s: s.update(area=-1)), "with area -1; it is a number of pixels"),
    "no area": (of_segment(lambda s: s.pop("area")), "with area None; it is a number of pixels"),
    "crowd or not": (of_segment(lambda s: s.update(iscrowd=2)), "with iscrowd 2; it is 0 or 1"),
    "no segments": (of_first(lambda one: one.pop("segments_info")), "image id 1000 has no list segments_info"),
    "unknown image": (of_first(lambda one: one.update(image_id=5)), "is of image id 5, not among the images"),
    "no name": (of_first(lambda one: one.pop("file_name")), "image id 1000 has no file_name, that of its PNG"),
    "twice": (
        lambda folder, png: edit(folder, lambda c: c["annotations"].append(c["annotations"][0])),
        "is there twice",
    ),
    "thing or stuff": (
        lambda folder, png: edit(folder, lambda c: c["categories"][0].pop("isthing")),
        "has isthing None; it is 0 or 1",
    ),
    "nothing": (lambda folder, png: edit(folder, lambda c: c.update(annotations=[])), "has no annotation, so there is"),
    "no PNGs": (lambda folder, png: shutil.rmtree(png.parent), "no such folder; it holds the PNGs"),
    "photograph missing": (
        lambda folder, png: (folder / "train2017" / png.name).unlink(),
        "train2017/000000001000.png (image id 1000) is missing",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_wrong_is_said_with_file_and_id(name: str, drawn: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(drawn, tmp_path / "coco"))
    change, message = CHANGES[name]
    change(folder, folder / "panoptic_train2017" / "000000001000.png")
    with pytest.raises(InputError) as refused:
        dataset(folder)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one.update(segmentation=[[1, 2, 3, 4]]), "of 4 numbers; three points are six"),
        (lambda one: one.update(segmentation={"counts": [9], "size": [3, 3]}), "a run-length code of size [3, 3]"),
        (lambda one: one.pop("segmentation"), "segmentation None; it is a list of polygons or a run-length code"),
    ],
)
def test_outlines_are_looked_at_before_training_on_masks(
    change: Callable[[Content], object], message: str, drawn: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(drawn, tmp_path / "coco"))
    path = folder / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    change(content["annotations"][0])
    path.write_text(json.dumps(content))
    build_dataset("train", training_args(coco_path=str(folder)))  # boxes alone do not need them
    with pytest.raises(InputError) as refused:
        build_dataset("train", training_args(coco_path=str(folder), masks=True))
    assert message in str(refused.value) and "annotation id 1 of image id" in str(refused.value)


def test_the_folder_of_panoptic_annotations_has_to_be_named(drawn: Path) -> None:
    with pytest.raises(InputError, match="--coco_panoptic_path : no such folder"):
        build_dataset("train", training_args(coco_path=str(drawn), dataset_file="coco_panoptic"))
