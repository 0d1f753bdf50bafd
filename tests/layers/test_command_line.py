"""The command line on good and on bad input: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fixtures
import parity.cli
import parity.client
import weight_convert
from detr_common import jittor_cuda
from detr_common.errors import InputError
from detr_common.images import load_photograph
from detr_common.options import default_args
from fixtures.pictures import PAIR
from parity.batch import photograph_batch
from parity.cli import main
from parity.client import Worker
from parity.layers import LayersJob
from parity.mutants.kills import SMALL
from parity.policy import Calibrated32, Exact64
from parity.provenance import describe_images
from parity.usage import check_device
from parity.verdict import Judgement, LayersVerdict

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
    manifests = [json.loads(path.read_text()) for path in (tmp_path / "traces").glob("*/manifest.json")]
    assert len(manifests) == 5
    for manifest in manifests:
        assert manifest["inputs"]["weights"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_json_is_one_object_and_a_planted_fault_is_exit_code_1(
    lab: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity.cli, "run_layers", lab.session.compare)
    arguments = ["layers", *OPTIONS, "--size", "64", "--json", "--mutant", "layernorm-eps"]
    assert call(monkeypatch, *arguments) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["passed"] is False
    assert verdict["first_divergence"] == "forward/transformer.encoder.layers.1.norm2"
    weights, images = verdict["settings"]["weights"], verdict["settings"]["images"]
    assert (weights["name"], weights["seed"], len(weights["sha256"])) == ("seeded.pkl", 42, 64)
    assert [image["name"] for image in images] == [path.name for path in PAIR]


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused must be refused before a worker is started."""
    monkeypatch.setattr(parity.client, "Worker", lambda *_, **__: pytest.fail("a worker was started"))


def test_numbers_that_are_not_finite_are_words_in_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    off = Judgement("forward/a", "a", "a.py:1", (3,), None, float("inf"), float("nan"), ("wrong",))
    verdict = LayersVerdict([off], [], [], [], 1, Exact64(), Calibrated32())
    monkeypatch.setattr(parity.cli, "run_layers", lambda job: verdict)
    assert call(monkeypatch, "layers", *OPTIONS, "--size", "64", "--json") == 1
    said = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert (said["tensors"][0]["ratio"], said["tensors"][0]["ratio_max"]) == ("inf", "nan")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["layers", "--image", "missing.jpg"], "no such image"),
        (["layers", "--image", "."], "is a directory"),
        (["layers", "--image", __file__], "not an image"),
        (["layers", "--mutant", "nonsense"], "no such fault; python -m parity mutants lists them all"),
        (["layers", "--mutant", "layernrm-eps"], "did you mean layernorm-eps"),
        (["layers", "--mutant", "dilation-dropped"], "add --dilation"),
        (["layers", "--backbone", "vgg"], "invalid choice"),
        (["layers", "--zzz"], "no such option: --zzz; python -m parity layers --help lists the options"),
        (["layers", "--wieghts=a.pth"], "no such option: --wieghts; did you mean --weights"),
        (["layers", "--back", "resnet18"], "no such option: --back; did you mean --backbone"),
        (["layers", "street.jpg"], "unexpected argument: street.jpg"),
        (["layers", "--size", "8"], "8 is not N or HxW, of 32 to 8192 pixels"),
        (["ladder", "--size", "64x31"], "64x31 is not N or HxW"),
        (["steps", "--size", "60000x60000"], "60000x60000 is not N or HxW"),
        (["gradients", "--size", "64x"], "64x is not N or HxW"),
        (["layers", "--size"], "--size"),
        (["layers", "--dtype", "float64"], "--dtype: a comparison runs in float64 and in float32 both"),
        (["layers", "--backbone", "resnet18", "--dilation"], "dilation"),
        (["layers", "--weights", __file__, "--hidden_dim", "100"], "must be a multiple of --nheads"),
        (["layers", "--weights", "missing.pth"], "--weights missing.pth: no such file"),
        (["layers", "--weights", "."], "--weights .: is not a file"),
        (["layers", "--weights", __file__, "--jittor-weights", "missing.pkl"], "--jittor-weights missing.pkl: no such"),
        (["layers", "--jittor-weights", __file__], "give PyTorch's checkpoint too"),
        (["layers", "--keep", str(Path(__file__).parent)], "is not empty"),
        (["layers", "--keep", __file__], "is a file"),
        (["layers", "--keep", "missing/traces"], "the folder missing does not exist"),
        (["layers", "--json", "--show", "transformer"], "--json and --show exclude each other"),
        (["layers", "--bench", "--keep", "traces"], "--keep and --bench exclude each other"),
        (["demo", "--out", __file__], "cannot be made a folder"),
        (["demo", "--bogus"], "python -m parity demo --help"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_line_at_once(
    no_worker: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert call(monkeypatch, *arguments) == 2
    message = capsys.readouterr().err
    assert said in message and message.startswith("error: ") and len(message.splitlines()) == 1
    assert not Path("missing").exists() and not Path("traces").exists()


@pytest.mark.parametrize("folder", [True, False])
def test_what_one_may_not_read_or_write_is_refused(
    no_worker: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: bool
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in (tmp_path, Path(__file__)))
    assert call(monkeypatch, "layers", "--weights", __file__) == 2
    assert "may not be read by you" in capsys.readouterr().err
    assert call(monkeypatch, "layers", "--keep", str(tmp_path if folder else tmp_path / "traces")) == 2
    assert ("may not be written to by you" if folder else "you may not make a folder") in capsys.readouterr().err


def test_cuda_is_refused_at_once_where_jittor_can_use_no_gpu(
    no_worker: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("nvcc_path", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert call(monkeypatch, "layers", "--device", "cuda") == 2
    assert "--device cuda: Jittor can use no GPU here (no" in capsys.readouterr().err


def test_cuda_is_not_refused_where_jittor_is_built_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jittor_cuda, "plan", lambda root: jittor_cuda.Cuda(True, None, "a GPU"))
    check_device("cuda")


def test_without_a_command_the_help_is_shown_and_nothing_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch) == 2
    assert "Commands:" in capsys.readouterr().out
    assert call(monkeypatch, "layers", "-h") == 0
    said = capsys.readouterr().out
    assert "--backbone {resnet18,resnet34" in said and "--dtype" not in said and "Exit code: 0" in said


def test_a_worker_that_dies_is_exit_code_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Killed(Worker):
        def build(self, *args: Any, **options: Any) -> None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            super().build(*args, **options)

    monkeypatch.setattr(parity.client, "Worker", Killed)
    assert call(monkeypatch, "layers", *OPTIONS, "--size", "64") == 3
    message = capsys.readouterr().err
    assert "probably out of memory" in message and "Traceback" not in message


def test_an_unknown_module_to_show_is_refused_before_the_models_run(lab: Any) -> None:
    job = lab.job(size=64, **SMALL)
    asked: list[str] = []
    with pytest.raises(InputError, match=r"did you mean transformer\.encoder\.layers\.1\.self_attn or "):
        lab.session.compare(
            replace(job, show="transformer.encoder.layer.1.self_attn"), progress=lambda run, _: asked.append(run)
        )
    with pytest.raises(InputError, match=r"they begin with \(root\), transformer"):
        lab.session.compare(replace(job, show="zzz"))
    assert not asked and lab.session.compare(replace(job, show="backbone.0"))


def test_a_reader_that_leaves_early_changes_neither_exit_code_nor_errors() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "parity", "mutants"]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_photograph_that_was_cut_is_told_from_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.png", "RGB", (96, 96))
    images = photograph_batch([path], 96)
    whole, cut = describe_images([path], images)
    assert whole["name"] == "mine.png" and whole["bytes"] == path.stat().st_size and whole["shape"] == [3, 96, 96]
    assert whole["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert cut == {"cut_of": "mine.png", "shape": list(images[1].shape)}


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
    state |= {"query_embed.weight": state["query_embed.weight"][:3], "extra.weight": np.ones(2, np.float32)}
    weight_convert.write({"model": state}, tmp_path / "odd.pkl")
    with pytest.raises(InputError) as refusal:
        lab.session.compare(LayersJob(job.args, tmp_path / "odd.pkl", job.images))
    for name in ("class_embed.bias", "query_embed.weight", "extra.weight"):
        assert name in str(refusal.value)
    assert lab.session.compare(job)
