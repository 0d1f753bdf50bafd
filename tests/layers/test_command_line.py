"""The command line on good and on bad input: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_detector import SMALL

import fixtures
import weight_convert
from detr_common.errors import InputError
from detr_common.images import load_photograph
from detr_common.options import default_args
from parity.batch import photograph_batch
from parity.cli import main
from parity.layers import LayersJob

OPTIONS = [part for name, value in SMALL.items() for part in (f"--{name}", str(value))]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["parity", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def save(path: Path, mode: str, size: tuple[int, int]) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], len(Image.new(mode, (1, 1)).getbands())))
    Image.fromarray(pixels.astype(np.uint8).squeeze(), mode="L").save(path) if mode == "L" else Image.frombytes(
        mode, size, pixels.astype(np.uint8).tobytes()
    ).save(path)
    return path


def test_layers_pass_on_a_users_photograph_and_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    weights, photograph = tmp_path / "mine.pkl", fixtures.photographs()[0]
    weight_convert.write({"model": fixtures.state_dict(default_args(**SMALL))}, weights)
    arguments = ["layers", *OPTIONS, "--image", str(photograph), "--weights", str(weights)]
    assert call(monkeypatch, *arguments, "--size", "64", "--keep", str(tmp_path / "traces")) == 0
    said = capsys.readouterr().out
    assert "PASS" in said and "0 missing" in said and "transformer.encoder.layers.1" in said
    assert len(list((tmp_path / "traces").glob("*/manifest.json"))) == 5


def test_json_is_one_object_and_a_planted_fault_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["layers", *OPTIONS, "--size", "64", "--json", "--mutant", "layernorm-eps"]
    assert call(monkeypatch, *arguments) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["passed"] is False
    assert verdict["first_divergence"] == "forward/transformer.encoder.layers.1.norm2"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["layers", "--image", "missing.jpg"], "no such image"),
        (["layers", "--image", "."], "is a directory"),
        (["layers", "--image", __file__], "not an image"),
        (["layers", "--mutant", "nonsense"], "no such fault"),
        (["layers", "--mutant", "dilation-dropped"], "add --dilation"),
        (["layers", "--backbone", "vgg"], "invalid choice"),
        (["layers", "--nonsense"], "unrecognized arguments"),
        (["layers", "--size", "8"], "32"),
        (["layers", "--backbone", "resnet18", "--dilation"], "dilation"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert call(monkeypatch, *arguments) == 2
    message = capsys.readouterr().err
    assert said in message and "Traceback" not in message


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_photographs_of_any_colour_mode_are_read(tmp_path: Path, mode: str) -> None:
    array = load_photograph(save(tmp_path / "a.jpg", mode, (60, 40)), size=64)
    assert array.shape == (3, 64, 96) and array.dtype == np.float32 and np.isfinite(array).all()


def test_one_pixel_is_enlarged_and_a_sliver_is_refused(tmp_path: Path) -> None:
    assert load_photograph(save(tmp_path / "a.png", "RGB", (1, 1)), size=64).shape == (3, 64, 64)
    with pytest.raises(InputError, match="less elongated"):
        load_photograph(save(tmp_path / "b.png", "RGB", (3000, 2)), size=64)


def test_a_truncated_photograph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(fixtures.photographs()[0].read_bytes()[:2000])
    with pytest.raises(InputError, match=r"cut\.jpg"):
        load_photograph(path)


@pytest.mark.parametrize("size", [64, 96, 97, 160, 256])
@pytest.mark.parametrize("sizes", [[(60, 40)], [(60, 40), (60, 41)], [(40, 60)], [(50, 50), (51, 50)]])
def test_a_batch_always_has_padding_on_the_feature_map(tmp_path: Path, sizes: list[tuple[int, int]], size: int) -> None:
    paths = [save(tmp_path / f"{i}.png", "RGB", pixels) for i, pixels in enumerate(sizes)]
    images = photograph_batch(paths, size)
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    rows, columns = (np.arange(-(-n // 32)) * n // -(-n // 32) for n in (height, width))
    assert any((rows >= image.shape[1]).any() or (columns >= image.shape[2]).any() for image in images)
    assert all(min(image.shape[1:]) >= 32 for image in images)


def _text(path: Path) -> None:
    path.write_text("not a checkpoint")


def _truncated(path: Path) -> None:
    weight_convert.write({"model": {"a": np.ones(9, np.float32)}}, path)
    path.write_bytes(path.read_bytes()[:200])


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return __import__("os").system, ("touch HOSTILE_RAN",)


def _hostile(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": _Hostile()}))


@pytest.mark.parametrize("make", [_text, _truncated, _hostile, Path.mkdir, lambda path: None])
def test_unusable_checkpoints_are_refused_by_the_workers(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    path = tmp_path / "weights.pth"
    make(path)
    job = LayersJob(default_args(**SMALL), path, photograph_batch([], 64))
    with pytest.raises(InputError, match=r"weights\.pth"):
        lab.session.compare(job)
    assert not Path("HOSTILE_RAN").exists()


def test_names_that_do_not_fit_are_listed_and_the_session_goes_on(lab: Any, tmp_path: Path) -> None:
    job = lab.job(size=64, **SMALL)
    state = dict(weight_convert.read_state_dict(job.weights))
    del state["class_embed.bias"]
    state["query_embed.weight"] = state["query_embed.weight"][:3]
    state["extra.weight"] = np.ones(2, np.float32)
    weight_convert.write({"model": state}, tmp_path / "odd.pkl")
    with pytest.raises(InputError) as refusal:
        lab.session.compare(LayersJob(job.args, tmp_path / "odd.pkl", job.images))
    for name in ("class_embed.bias", "query_embed.weight", "extra.weight"):
        assert name in str(refusal.value)
    assert lab.session.compare(job)
