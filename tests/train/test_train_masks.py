"""Training and evaluation with masks and panoptic maps, and of the mask head alone on a frozen detector."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_lines import ROOT, call
from PIL import Image
from pycocotools import mask as coder
from test_train_programs import PACKAGES, Program

import fixtures
import weight_convert
from detr_common.options import default_args
from detr_common.panoptic import to_colours, to_ids
from fixtures.coco import Drawn, write_coco

SIZES = {
    "backbone": "resnet18", "enc_layers": 1, "dec_layers": 2, "hidden_dim": 128, "nheads": 8, "dim_feedforward": 64,
    "num_queries": 8, "num_classes": 120, "dataset_file": "coco_panoptic",
}  # fmt: skip
MODEL = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    write_coco(folder, Drawn(train=6, val=4))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Seeded weights of a detector, and of one with a mask head."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    for name, masks in (("detector", False), ("whole", True)):
        found[name] = folder / f"{name}.pkl"
        weight_convert.write({"model": fixtures.state_dict(default_args(**SIZES, masks=masks), seed=1)}, found[name])
    return found


def options(shapes: Path, *words: object) -> list[object]:
    data = ["--coco_path", shapes, "--coco_panoptic_path", shapes, "--image_size", 96, "--batch_size", 2]
    return [*MODEL, *data, "--num_workers", 0, *words]


def done(package: str, shapes: Path, *words: object, program: Program = call) -> None:
    ended = program([sys.executable, "-m", package, *map(str, options(shapes, *words))])
    assert ended.returncode == 0, ended.stdout[-1000:] + ended.stderr[-3000:]


@pytest.mark.parametrize(("package", "suffix"), PACKAGES)
def test_the_mask_head_learns_alone_on_frozen_weights(
    shapes: Path, weights: dict[str, Path], tmp_path: Path, program: Program, package: str, suffix: str
) -> None:
    frozen = ["--masks", "--frozen_weights", weights["detector"], "--output_dir", tmp_path, "--eval_train"]
    # The start has a detector of its own, of another seed, which gives way to the one that is frozen.
    start = fixtures.state_dict(default_args(**SIZES, masks=True), seed=2)
    weight_convert.write({"model": start}, tmp_path / "start.pth")
    done(package, shapes, *frozen, "--resume", tmp_path / "start.pth", "--epochs", 2, "--lr", 1e-3)
    checkpoint = weight_convert.read(tmp_path / f"checkpoint.{suffix}", loader="numpy")
    detector = weight_convert.read(weights["detector"])["model"]
    for name, value in checkpoint["model"].items():
        if name.startswith("detr."):
            assert np.array_equal(value, detector[name.removeprefix("detr.")]), name
    moved = [name for name, value in checkpoint["model"].items() if not np.array_equal(value, start[name])]
    assert {"mask_head.lay1.weight", "bbox_attention.q_linear.weight"} <= set(moved)
    lines = [json.loads(line) for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert len(lines) == 2 and len(lines[0]["test_coco_eval_masks"]) == len(lines[0]["train_coco_eval_masks"]) == 12
    assert set(lines[1]["test_PQ_all"]) == set(lines[1]["train_PQ_st"]) == {"pq", "sq", "rq"}
    assert lines[0]["n_parameters"] == sum(
        value.size for name, value in checkpoint["model"].items() if not name.startswith("detr.")
    )
    summary = (tmp_path / "eval_summary.txt").read_text()
    assert summary.count("IoU metric: segm") == 2 and summary.count("Panoptic ") == 2
    assert len(list((tmp_path / "panoptic_eval").glob("*.png"))) == 4
    # It goes on where it stopped.
    resume = ["--resume", tmp_path / f"checkpoint.{suffix}"]
    done(package, shapes, *frozen, *resume, "--epochs", 3, "--lr", 1e-3, program=program)
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--frozen_weights", "absent.pth"], "--frozen_weights: is for the mask head alone; give --masks too"),
        (["--masks", "--frozen_weights", "absent.pth"], "--frozen_weights absent.pth: no such file"),
        (["--masks", "--frozen_weights", "WHOLE"], "does not fit the model in"),
        (["--coco_panoptic_path", "absent"], "--coco_panoptic_path absent: no such folder"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    shapes: Path, weights: dict[str, Path], tmp_path: Path, in_process: Any, words: list[str], message: str
) -> None:
    words = [str(weights["whole"]) if word == "WHOLE" else word for word in words]
    ended = in_process("detr_pt.__main__", options(shapes, *words, "--output_dir", tmp_path / "out"))
    assert ended.returncode == 2 and ended.stderr.startswith("error: "), ended.stderr
    assert message in ended.stderr and not list((tmp_path / "out").glob("checkpoint*"))


def expect_maps(folder: Path, found: Path) -> None:
    """Make panoptic annotations of maps that were found, without some of their segments and rows."""
    path = folder / "annotations" / "panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"] = []
    for number, entry in enumerate(json.loads((found / "predictions.json").read_text())["annotations"]):
        ids = to_ids(np.asarray(Image.open(found / entry["file_name"]))) + 1  # 0 is nobody's
        segments = [{**one, "id": one["id"] + 1, "iscrowd": 0} for one in entry["segments_info"]]
        ids[: 4 + number] = 0
        segments = [one for i, one in enumerate(segments) if (ids == one["id"]).any() and (i + number) % 4]
        ids[~np.isin(ids, [one["id"] for one in segments])] = 0
        Image.fromarray(to_colours(ids)).save(folder / "panoptic_val2017" / entry["file_name"])
        told = {"image_id": entry["image_id"], "file_name": entry["file_name"]}
        content["annotations"].append({**told, "segments_info": segments})
    path.write_text(json.dumps(content))


def expect_masks(folder: Path, found: Path) -> None:
    """Make instance annotations of masks that were found, without some of their rows."""
    path = folder / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    images = {image["file_name"]: image for image in content["images"]}
    content["annotations"] = []
    for number, one in enumerate(json.loads((found / "detections.json").read_text())):
        mask = coder.decode(one["segmentation"])
        mask[number % 7 :: 9] = 0
        if number % 5 and mask.sum() > 100:
            code = coder.encode(np.asfortranarray(mask))
            outline = {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode()}
            box = [float(side) for side in coder.toBbox(code)]
            told = {"category_id": one["category_id"], "segmentation": outline, "bbox": box, "iscrowd": 0}
            image_id = images[one["image"]]["id"]
            content["annotations"].append({"id": number + 1, "image_id": image_id, "area": float(mask.sum()), **told})
    path.write_text(json.dumps(content))


@pytest.mark.slow
def test_masks_and_maps_of_one_checkpoint_are_equally_good(weights: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "coco"
    write_coco(folder, Drawn(train=2, val=8))
    for path in (folder / "annotations").glob("*_val2017.json"):
        content = json.loads(path.read_text())
        content["categories"] = [{"id": i, "name": str(i), "isthing": int(i <= 90)} for i in range(120)]
        path.write_text(json.dumps(content))
    evaluate = ["--masks", "--eval", "--resume", weights["whole"], "--output_dir"]
    done("detr_pt", folder, *evaluate, tmp_path / "first")
    photographs, out = sorted((folder / "val2017").iterdir()), tmp_path / "found"
    command = [sys.executable, "-m", "detr_pt.predict", *photographs, *MODEL, "--masks", "--resume", weights["whole"]]
    command += ["--image_size", 96, "--threshold", 0, "--output_dir", out]
    subprocess.run(list(map(str, command)), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    expect_maps(folder, tmp_path / "first" / "panoptic_eval")
    expect_masks(folder, out)
    # In float64: two queries of a seeded detector may have nearly the same mask, and whose a pixel is was rounding.
    for package in ("detr_pt", "detr_jt"):
        done(package, folder, *evaluate, tmp_path / package, "--dtype", "float64")
    theirs, mine = (json.loads((tmp_path / package / "eval.json").read_text()) for package in ("detr_pt", "detr_jt"))
    assert theirs.keys() == mine.keys() and 0.1 < theirs["PQ_all"] < 0.95 and 0.1 < theirs["mask_AP"] < 0.95
    figures = [key for key in theirs if key.startswith(("AP", "AR", "mask_", "PQ", "SQ", "RQ"))]
    assert len(figures) >= 12 + 12 + 6
    assert {key: mine[key] for key in figures} == pytest.approx({key: theirs[key] for key in figures}, abs=1e-6)
