"""Both packages measure the same for one checkpoint, on photographs where that is neither nothing nor all."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_lines import ROOT
from test_train_programs import MODEL

import fixtures
import weight_convert
from detr_common.evaluate import FIGURES
from detr_common.options import default_args
from fixtures.coco import Drawn, write_coco

CLASSES = ["--num_classes", "91"]


def call(module: str, *words: object) -> None:
    command = [sys.executable, "-m", module, *MODEL, *CLASSES, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def expect_what_is_found(folder: Path, found: list[dict[str, Any]]) -> None:
    """Make annotations of detections, moved a little, so that a seeded detector finds some of them."""
    rng = np.random.default_rng(0)
    path = folder / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    images = {image["file_name"]: image for image in content["images"]}
    content["annotations"] = []
    for one in found:
        image = images[one["image"]]
        x0, y0, x1, y1 = np.array(one["box"]) + rng.uniform(-4, 4, 4)
        x0, x1 = np.clip((x0, x1), 0, image["width"])
        y0, y1 = np.clip((y0, y1), 0, image["height"])
        if min(x1 - x0, y1 - y0) > 8 and rng.random() < 0.8:
            box = [float(side) for side in (x0, y0, x1 - x0, y1 - y0)]
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": one["category_id"],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    used = {one["category_id"] for one in content["annotations"]}
    content["categories"] = [{"id": key, "name": str(key)} for key in sorted(used)]
    path.write_text(json.dumps(content))


@pytest.mark.slow
def test_figures_of_one_checkpoint_are_equal(tmp_path: Path) -> None:
    folder, weights = tmp_path / "coco", tmp_path / "seeded.pkl"
    write_coco(folder, Drawn(train=2, val=8))
    options = {key.removeprefix("--"): value for key, value in zip(MODEL[::2], MODEL[1::2], strict=True)}
    sizes = {name: int(value) if value.isdigit() else value for name, value in options.items()}
    weight_convert.write({"model": fixtures.state_dict(default_args(**sizes), seed=1)}, weights)
    photographs = sorted((folder / "val2017").iterdir())
    common = ["--resume", weights, "--image_size", 96]
    call("detr_pt.predict", *photographs, *common, "--threshold", 0, "--output_dir", tmp_path / "found")
    expect_what_is_found(folder, json.loads((tmp_path / "found" / "detections.json").read_text()))

    data = ["--eval", "--coco_path", folder, "--batch_size", 3, "--num_workers", 0]
    for package in ("detr_pt", "detr_jt"):
        call(package, *common, *data, "--output_dir", tmp_path / package)
    theirs, mine = (json.loads((tmp_path / package / "eval.json").read_text()) for package in ("detr_pt", "detr_jt"))
    assert theirs.keys() == mine.keys() and 0.1 < theirs["AP"] < 0.95
    assert {key: mine[key] for key in FIGURES} == pytest.approx({key: theirs[key] for key in FIGURES}, abs=1e-6)
    losses = [key for key in theirs if key.startswith("loss")]
    assert losses and {key: mine[key] for key in losses} == pytest.approx(
        {key: theirs[key] for key in losses}, rel=1e-5
    )
