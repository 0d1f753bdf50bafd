"""Panoptic quality: a case worked by hand, what the annotations do not know, and what cannot be measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_data_panoptic import dataset, truth_of

from detr_common.errors import InputError
from detr_common.evaluate import Found, evaluate_found
from detr_common.logs import logged_figures, summary_lines
from detr_common.panoptic import CocoPanoptic, to_colours
from detr_common.panoptic_quality import RESULTS, evaluate_panoptic
from detr_common.segments import to_png
from fixtures.coco import Drawn, write_coco

EMPTY = {"scores": np.zeros(0), "labels": np.zeros(0, int), "boxes": np.zeros((0, 4))}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "coco"
    write_coco(folder, Drawn(train=12, val=4))
    return folder


# By hand, on ten by ten pixels: a thing in rows 0 to 4, stuff in rows 5 to 7, nobody's rows 8 and 9. Found
# are the thing in rows 0 to 3, stuff in rows 4 to 6, and another thing in rows 7 to 9. The first thing has 40 of 50
# pixels: IoU 0.8, a match. Stuff has 20 pixels in common of 40 together: IoU 0.5, which is not above 0.5, so one is
# missed and one false. The last has 20 of its 30 pixels on nobody's, more than half, and does not count.
def test_quality_of_a_case_worked_by_hand(tmp_path: Path) -> None:
    rows = np.arange(10)[:, None] + np.zeros(10, np.int32)
    there = by_hand(tmp_path, np.select([rows < 5, rows < 8], [1000, 70000]).astype(np.int32))
    ids = np.select([rows < 4, rows < 7], [0, 1], 2).astype(np.int32)
    entries = [{"id": i, "category_id": key, "area": int((ids == i).sum())} for i, key in enumerate((1, 92, 1))]
    found = Found()
    found.add(1, EMPTY, {"png_string": to_png(ids), "segments_info": entries})
    figures = evaluate_found(there, found, tmp_path / "left")
    wanted = {"PQ_all": 0.4, "SQ_all": 0.4, "RQ_all": 0.5, "PQ_th": 0.8, "SQ_th": 0.8, "RQ_th": 1.0, "PQ_st": 0.0}
    assert {name: figures[name] for name in wanted} == pytest.approx(wanted)
    assert sorted(path.name for path in (tmp_path / "left").iterdir()) == ["000000000001.png", RESULTS]
    with pytest.raises(InputError, match="0 panoptic maps for 1 photographs"):
        evaluate_panoptic(there.panoptic, [])
    (tmp_path / "file").write_text("")
    assert found.panoptic is not None
    with pytest.raises(InputError, match="panoptic maps cannot be written"):
        evaluate_panoptic(there.panoptic, found.panoptic, tmp_path / "file")


def by_hand(folder: Path, ids: Any, kinds: dict[int, int] | None = None) -> CocoPanoptic:
    for name in ("val2017", "panoptic_val2017", "annotations"):
        (folder / name).mkdir()
    Image.new("RGB", (10, 10)).save(folder / "val2017" / "1.png")
    Image.fromarray(to_colours(ids)).save(folder / "panoptic_val2017" / "1.png")
    kinds = kinds or {1000: 1, 70000: 92}
    segments = [{"id": k, "category_id": c, "iscrowd": 0, "area": int((ids == k).sum())} for k, c in kinds.items()]
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": 10, "height": 10, "license": "x", "date_captured": 5}],
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
        "categories": [{"id": 1, "name": 5, "isthing": 1}, {"id": 92, "name": "b", "isthing": 0}],
    }
    (folder / "annotations" / "panoptic_val2017.json").write_text(json.dumps(content))
    return dataset(folder, "val")


def test_a_wrong_category_costs_quality_and_average_precision(drawn: Path) -> None:
    there = dataset(drawn, augment=False)
    right, without_discs = (
        evaluate_found(there, truth_of(there, kept)) for kept in (lambda s: True, lambda s: s["category_id"] != 3)
    )
    assert right["PQ_all"] == right["mask_AP"] == 1
    assert without_discs["PQ_st"] == 1 and without_discs["PQ_th"] == pytest.approx(2 / 3)
    assert without_discs["mask_AP"] == pytest.approx(2 / 3)


def found_in(there: CocoPanoptic, *entries: tuple[int, int, int], categories: tuple[int, ...]) -> dict[str, float]:
    """Return the figures of one map: rows from, rows to, and id of each segment, in the order of the categories."""
    ids = np.zeros((10, 10), np.int32)
    for first, last, key in entries:
        ids[first:last] = key
    segments = [
        {"id": key, "category_id": category, "area": int((ids == key).sum())}
        for (_, _, key), category in zip(entries, categories, strict=True)
    ]
    found = Found()
    found.add(1, EMPTY, {"png_string": to_png(ids), "segments_info": segments})
    return evaluate_found(there, found)


def test_a_category_that_the_annotations_do_not_know_is_nobody_s(tmp_path: Path) -> None:
    rows = np.arange(10)[:, None] + np.zeros(10, np.int32)
    there = by_hand(tmp_path, np.select([rows < 5, rows < 8], [1000, 70000]).astype(np.int32))
    right = found_in(there, (0, 5, 0), (5, 8, 1), categories=(1, 92))
    assert right["PQ_all"] == 1
    # The stuff is found as something unknown: it is missed, and nothing else is touched, the segment with id 0 least.
    wrong = found_in(there, (0, 5, 0), (5, 8, 1), categories=(1, 50))
    assert (wrong["PQ_th"], wrong["PQ_st"]) == (1, 0)
    nothing = found_in(there, (0, 8, 0), categories=(50,))
    assert nothing["PQ_all"] == 0


def test_a_group_of_which_there_is_nothing_has_no_figures(tmp_path: Path) -> None:
    there = by_hand(tmp_path, np.full((10, 10), 1000, np.int32), kinds={1000: 1})
    figures = found_in(there, (0, 10, 3), categories=(1,))
    assert figures["PQ_th"] == figures["PQ_all"] == 1 and "PQ_st" not in figures
    assert [line.split("|")[0].strip() for line in summary_lines(figures)] == ["Panoptic", "All", "Things"]
    assert logged_figures("test", figures) == {
        f"test_PQ_{group}": {"pq": 1, "sq": 1, "rq": 1} for group in ("all", "th")
    }


def test_annotations_without_number_or_crowd_are_compared(drawn: Path, tmp_path: Path) -> None:
    """And one with the number 0, which pycocotools takes for no object at all."""
    there = dataset(drawn, augment=False)
    assert there.instances is not None
    objects = [one for of_image in there.instances.objects.values() for one in of_image if not one["iscrowd"]]
    objects[0]["id"] = 0
    for one in objects[1:]:
        del one["iscrowd"], one["id"]
    assert evaluate_found(there, truth_of(there))["mask_AP"] == 1


def test_a_png_that_has_gone_meanwhile_is_one_line(tmp_path: Path) -> None:
    there = by_hand(tmp_path, np.full((10, 10), 1000, np.int32), kinds={1000: 1})
    (tmp_path / "panoptic_val2017" / "1.png").unlink()
    with pytest.raises(InputError, match="its PNGs cannot be read any more"):
        found_in(there, (0, 10, 3), categories=(1,))
