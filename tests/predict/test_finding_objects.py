"""Pictures of what was found: by each package, and by both side by side."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coder

import fixtures
import weight_convert
from detr_common import predict
from detr_common.categories import COCO, STUFF, read_names, read_things
from detr_common.drawing import Detection, PanopticMap, draw, draw_panoptic
from detr_common.errors import InputError
from detr_common.options import default_args, training_args
from fixtures.coco import CATEGORIES, Drawn, write_coco
from fixtures.pictures import PAIR
from parity.predict_cli import compared

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "backbone": "resnet18", "enc_layers": 1, "dec_layers": 2, "hidden_dim": 32, "nheads": 4, "dim_feedforward": 64,
    "num_queries": 5,
}  # fmt: skip
MODEL = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "seeded.pkl"
    weight_convert.write({"model": fixtures.state_dict(default_args(**SMALL), seed=1)}, path)
    return path


def call(module: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *module.split(), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_names_are_those_of_coco() -> None:
    assert len(COCO) == 80 and len(set(COCO.values())) == 80
    assert (COCO[1], COCO[13], COCO[44], COCO[67], COCO[90]) == (
        "person", "stop sign", "bottle", "dining table", "toothbrush",
    )  # fmt: skip
    assert not {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91} & set(COCO)


def test_names_of_other_categories(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco", Drawn(train=1, val=1))
    assert read_names(tmp_path / "coco" / "annotations" / "instances_val2017.json") == CATEGORIES
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(InputError, match="no categories can be read"):
        read_names(tmp_path / "none.json")


def test_boxes_are_drawn_where_they_are() -> None:
    photo = Image.new("RGB", (100, 80), "white")
    drawn = np.asarray(draw(photo, [Detection(1, 0.9, (20.0, 30.0, 60.0, 70.0))], COCO))
    assert (np.asarray(photo) == 255).all()
    changed = np.argwhere((drawn != 255).any(-1))
    assert tuple(changed.min(0)) == (30, 20) and changed[:, 0].max() == 70
    assert (drawn[31:69, 59:61] != 255).any(-1).all() and (drawn[60, 25:55] == 255).all()


def test_only_what_is_sure_enough_and_the_surest_first() -> None:
    result = {"scores": np.array([0.2, 0.7, 0.9]), "labels": np.array([1, 2, 3]), "boxes": np.zeros((3, 4))}
    assert [one.label for one in predict.findings(0.7, result).detections] == [3, 2]


def test_finding_the_same_is_told_from_finding_something_else() -> None:
    one = {"scores": np.array([0.9, 0.3]), "labels": np.array([1, 2]), "boxes": np.zeros((2, 4))}
    near = one | {"scores": one["scores"] + 1e-6, "labels": np.array([1, 5])}
    assert compared(one, near, 0.7)[0]  # of what is not shown the label does not matter
    assert not compared(one, one | {"labels": np.array([2, 2])}, 0.7)[0]
    assert not compared(one, one | {"scores": np.array([0.6, 0.3])}, 0.7)[0]
    assert not compared(one, one | {"scores": np.array([0.9, 0.31])}, 0.7)[0]


def test_options_of_the_model_are_those_of_the_checkpoint(tmp_path: Path, checkpoint: Path) -> None:
    trained = tmp_path / "trained.pkl"
    args = training_args(**SMALL, lr=1e-3, output_dir="elsewhere")
    weight_convert.write({**weight_convert.read(checkpoint), "args": args}, trained)
    found = predict.parse(["a.png", "--resume", str(trained), "--num_queries", "7"], "x")
    assert (found.hidden_dim, found.backbone, found.num_queries) == (32, "resnet18", 7)
    assert found.output_dir == Path("predictions") and found.resume == trained
    assert predict.parse(["a.png", "--resume", str(checkpoint)], "x").hidden_dim == 256


@pytest.mark.parametrize(("package"), ["detr_pt", pytest.param("detr_jt", marks=pytest.mark.slow)])
def test_a_package_draws_and_writes_what_it_finds(tmp_path: Path, checkpoint: Path, package: str) -> None:
    common = ["--resume", checkpoint, *MODEL, "--image_size", 96, "--output_dir", tmp_path / "out"]
    done = call(f"{package}.predict", *PAIR, *common, "--threshold", 0.05)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert found and {one["image"] for one in found} <= {path.name for path in PAIR}
    assert all(0.05 <= one["score"] <= 1 and len(one["box"]) == 4 for one in found)
    for path in PAIR:
        assert size_of(tmp_path / "out" / f"{path.stem}.png") == size_of(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.jpg"], "absent.jpg: no such image"),
        ([PAIR[0], PAIR[0]], "two photographs have one name"),
        ([PAIR[0], "--threshold", 2], "--threshold 2.0: give a number from 0 to 1"),
        ([PAIR[0], "--names", "absent.json"], "no categories can be read"),
        ([PAIR[0], "--hidden_dim", 64], "does not fit the model in 56 places"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path, checkpoint: Path, in_process: Any, words: list[object], message: str
) -> None:
    common = ["--resume", checkpoint, "--output_dir", tmp_path / "out", *MODEL]
    done = in_process("detr_pt.predict", [*common, *words])
    assert done.returncode == 2 and done.stderr.startswith("error: ") and not (tmp_path / "out" / "x.png").exists()
    assert message in done.stderr, done.stderr


@pytest.mark.slow
def test_both_find_the_same_and_other_weights_something_else(tmp_path: Path, checkpoint: Path) -> None:
    images = [word for path in PAIR for word in ("--image", path)]
    common = [*images, "--weights", checkpoint, *MODEL, "--size", 96, "--threshold", 0.05, "--output_dir", tmp_path]
    done = call("parity predict", *common)
    assert done.returncode == 0 and done.stdout.count("✓") == 2, done.stdout + done.stderr
    assert size_of(tmp_path / f"{PAIR[0].stem}.png")[0] == 2 * size_of(PAIR[0])[0] + 4
    other = tmp_path / "other.pkl"
    weight_convert.write({"model": fixtures.state_dict(default_args(**SMALL), seed=2)}, other)
    done = call("parity predict", *common, "--jittor-weights", other)
    assert done.returncode == 1 and "✗" in done.stdout, done.stdout + done.stderr


def test_masks_and_panoptic_maps_are_drawn_where_they_are() -> None:
    photo = Image.new("RGB", (100, 80), "white")
    mask = np.zeros((80, 100), bool)
    mask[10:30, 40:60] = True
    drawn = np.asarray(draw(photo, [Detection(1, 0.9, (0.0, 60.0, 20.0, 79.0), mask)], COCO))
    assert (drawn[mask] != 255).any(-1).all() and (drawn[:9, 35:] == 255).all()
    ids = np.zeros((80, 100), np.int32)
    ids[:, 50:] = 7
    panoptic = PanopticMap(ids, [{"id": 7, "isthing": False, "category_id": 149, "area": 4000}])
    drawn = np.asarray(draw_panoptic(photo, panoptic, COCO | STUFF))
    assert (drawn[:, :40] == 255).all() and (drawn[5:75, 95] != 255).any(-1).all()


def test_things_and_stuff_are_those_of_the_annotations(tmp_path: Path, in_process: Any) -> None:
    """Not those that the ids would tell: the postprocessor is told."""
    path = tmp_path / "names.json"
    categories = [
        {"id": 5, "name": "ground", "isthing": 0},
        {"id": 95, "name": "kite", "isthing": 1},
        {"id": 6, "name": "x"},
    ]
    path.write_text(json.dumps({"categories": categories}))
    assert read_things(path) == {5: False, 95: True} and read_names(path)[95] == "kite"
    options = {
        **SMALL,
        "hidden_dim": 128,
        "nheads": 8,
        "num_queries": 20,
        "dataset_file": "coco_panoptic",
        "masks": True,
    }
    seeded = tmp_path / "seeded.pkl"
    weight_convert.write({"model": fixtures.state_dict(default_args(**options), seed=0)}, seeded)
    words = [w for k, v in options.items() for w in ([f"--{k}"] if v is True else [f"--{k}", str(v)])]
    common = [PAIR[0], "--resume", seeded, *words, "--image_size", 96]
    counts = []
    for thing, out in ((0, "a"), (1, "b")):
        every = [{"id": i, "name": str(i), "isthing": thing} for i in range(250)]
        path.write_text(json.dumps({"categories": every}))
        done = in_process("detr_pt.predict", [*common, "--names", path, "--output_dir", tmp_path / out])
        assert done.returncode == 0 and (tmp_path / out / f"{PAIR[0].stem}.panoptic.png").exists(), done.stderr
        counts.append(int(done.stdout.split(" segments")[0].split()[-1]))
    assert counts[0] < counts[1], counts  # things of one category stay apart, stuff is merged
    found = json.loads((tmp_path / "b" / "detections.json").read_text())
    assert all(coder.decode(one["segmentation"]).shape == size_of(PAIR[0])[::-1] for one in found) and found
