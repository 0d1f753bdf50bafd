"""``parity bench --also``: what it refuses before it measures, and the figures of each cost."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from detr_common.errors import InputError
from detr_common.options import training_args
from fixtures.coco import Drawn, write_coco
from parity.bench import cold, costs
from parity.bench.child import run_python
from parity.bench.costs import ALL, COSTS, parse_costs, prepare, write_photographs
from parity.bench.figures import Figure, Job
from parity.bench.suite import folder_of, read_report, suite
from parity.loading import loading_dataset, measure_dataset
from parity.process import WorkerError

SMALL = {"backbone": "resnet18", "enc_layers": 1, "dec_layers": 1, "hidden_dim": 64, "nheads": 4, "num_queries": 12}
OPTIONS = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]


FEW = ["--sizes", "64", "--rounds", "1", *OPTIONS]


def job(**changes: object) -> Job:
    args = training_args(**SMALL, **changes)
    return Job(args, args, (64, 64), 1, 1)


def test_names() -> None:
    assert parse_costs(None) == []
    assert parse_costs("loading,capture,loading") == ["loading", "capture"]
    assert parse_costs("all") == list(ALL) == [name for name in COSTS if name != "suite"]
    assert parse_costs("suite,all") == ["suite", *ALL]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--also", "convertor"], "there is no 'convertor'; did you mean converter"),
        (["--also", ""], "there is no ''"),
        (["--sides", "none"], "leaves nothing to measure"),
        (["--sides", "none,plain", "--also", "capture"], "there is no 'none'"),
        (["--over", "area", "--also", "capture"], "--over and --also exclude each other"),
        (["--also", "capture", "--coco_path", "/"], "only --also loading reads photographs"),
        (["--also", "loading", "--coco_path", "/nowhere"], "--coco_path /nowhere: no such folder"),
        (["--over", "area", "--coco_path", "/"], "--over and --coco_path exclude each other"),
        (["--also", "loading", "--batch_size", "101"], "has 200 photographs, and needs two batches"),
        (["--also", "loading,suite", "--coco_path", "tests"], "tests/annotations"),
    ],
)
def test_wrong_use_is_one_line(bench_here: Any, arguments: list[str], told: str) -> None:
    run = bench_here(*FEW, *arguments)
    assert run.returncode == 2 and told in run.stderr, run.stderr
    assert "Traceback" not in run.stderr


def test_costs_alone_as_json(bench_here: Any) -> None:
    run = bench_here(*FEW, "--sides", "none", "--also", "capture,converter", "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["cases"] == [] and list(report["costs"]) == ["capture", "converter"]
    units = {}
    for name, cost in report["costs"].items():
        assert all(figure["value"] > 0 for figure in cost["figures"].values())
        units[name] = [figure["unit"] for figure in cost["figures"].values()]
    assert units == {
        "capture": ["s", "s", "times"],
        "converter": ["MB/s", "MB/s", "times"] * 2,
    }
    assert "bitwise equal" in report["costs"]["capture"]["on"]
    captured = report["costs"]["capture"]["figures"]
    quotient = captured["captured and compared"]["value"] / captured["plain forward passes"]["value"]
    assert captured["ratio"]["value"] == pytest.approx(quotient)


def test_loading_of_the_photographs_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_TIMES", 1)
    (measure,) = prepare(["loading"], job(batch_size=2))
    told: list[str] = []
    cost = measure(told.append)
    assert told == ["loading: 0 and 2 workers"] and "photographs of the project" in cost.on
    assert [figure.unit for figure in cost.figures.values()] == ["photographs/s", "photographs/s", "times"] * 2
    assert all(figure.value > 0 for figure in cost.figures.values())


def test_costs_after_the_steps(bench_here: Any, tmp_path: Path) -> None:
    write_coco(tmp_path, Drawn(train=6, val=1))
    run = bench_here(*FEW, "--sides", "detr_pt", "--also", "loading", "--coco_path", str(tmp_path))
    assert run.returncode == 0, run.stderr
    steps, costs = run.stdout.split("loading: ")
    assert "step of training" in steps
    assert f"photographs of {tmp_path}" in costs and "photographs/s" in costs and "2 workers, ratio" in costs


def test_data_sets_that_are_small_or_large(tmp_path: Path) -> None:
    write_photographs(tmp_path)
    args = training_args(coco_path=str(tmp_path), image_size=64, batch_size=3, num_workers=0)
    some = loading_dataset(args, most=7)
    assert len(some) == len(some.annotations.images) == 7 and len(loading_dataset(args)) == 200
    speed = measure_dataset(some, args, rounds=1)
    assert speed.ours > 0 and speed.upstream > 0 and speed.workers == 0
    args.batch_size = 101
    with pytest.raises(InputError, match="200 photographs for training are fewer than two batches of 101"):
        loading_dataset(args)


def test_core_is_copied_without_kernels(tmp_path: Path) -> None:
    root = tmp_path / "real" / ".cache" / "jittor"
    cache = root / "jt1.3" / "g++12" / "name"
    noted = f'"g++" -I"{cache}" -o "{cache}/jittor_core.so"'
    files = {
        cache / "jittor_core.so": "core",
        cache / "jittor_core.so.key": noted,
        cache / "obj_files" / "var.cc.o": "object",
        cache / "obj_files" / "var.cc.o.key": noted,
        cache / "custom_ops" / "mkl.so": "operations",
        cache / "jit" / "kernel.so": "kernel",
        cache / "headers" / "kernel.h.gch": "headers",
        cache / "checkpoints" / "downloaded.pkl": "weights",
        root / "mkl" / "lib" / "libdnnl.so": "oneDNN",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    os.utime(cache / "jittor_core.so", (1000, 1000))
    (root / "mkl" / "lib" / "libmkldnn.so").symlink_to("libdnnl.so")
    home = tmp_path / "spare"
    copied = cold.copy_core(cache, root, home)
    assert copied == home / ".cache" / "jittor" / "jt1.3" / "g++12" / "name"
    assert (copied / "jittor_core.so").stat().st_mtime == 1000
    assert (copied / "obj_files" / "var.cc.o.key").read_text() == f'"g++" -I"{copied}" -o "{copied}/jittor_core.so"'
    assert (home / ".cache" / "jittor" / "mkl" / "lib" / "libmkldnn.so").is_symlink()
    assert {path.name for path in copied.rglob("*") if path.is_file()} == {
        "jittor_core.so", "jittor_core.so.key", "var.cc.o", "var.cc.o.key", "mkl.so",
    }  # fmt: skip
    assert {path: path.read_text() for path in files} == files


def test_core_that_is_not_there_is_not_copied(tmp_path: Path) -> None:
    root = tmp_path / "jittor"
    copied = cold.copy_core(root / "jt" / "name", root, tmp_path / "spare")
    assert copied.is_dir() and not list(copied.iterdir()) and not root.exists()


def test_environment_of_the_spare_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JITTOR_HOME", "/elsewhere")
    monkeypatch.delenv("PYTHONUSERBASE", raising=False)
    found = cold.spare_environment(tmp_path, 3)
    assert found["HOME"] == str(tmp_path) and found["OMP_NUM_THREADS"] == "3"
    assert "JITTOR_HOME" not in found and found["PYTHONUSERBASE"]


def test_compilation_is_refused_on_a_gpu() -> None:
    with pytest.raises(InputError, match="kernels for the CPU; leave --device cuda out"):
        prepare(["compilation"], job(device="cuda"))


def test_process_that_fails_is_quoted() -> None:
    with pytest.raises(WorkerError, match=r"what: the process ended with code 1\.[^$]*no such kernel$"):
        run_python("what", ["-c", "raise SystemExit('no such kernel')"], os.environ)
    assert run_python("what", ["-c", "print(1)"], os.environ) == "1\n"


@pytest.mark.slow
def test_first_step_without_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold.tempfile, "tempdir", str(tmp_path))
    (measure,) = prepare(["compilation"], job())
    figures = measure(lambda _: None).figures
    assert figures["kernels of building"].value > 1 and figures["kernels of the first step"].value > 100
    assert figures["processor time of the compilers in both"].value > 10
    assert figures["first step"].value > 5 * figures["second step"].value
    assert not list(tmp_path.iterdir())


JUNIT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="4" failures="1" time="9">
<testcase classname="tests.layers.test_trace" name="one" time="1.25"/>
<testcase classname="tests.ops.test_ops.TestAll" name="two" time="4"/>
<testcase classname="tests.layers.test_other" name="three[a.b]" time="0.5"><failure message="no">no</failure></testcase>
<testcase classname="tests.test_top" name="four" time="0.25"><skipped message="not here"/></testcase>
<testcase classname="tests.ops.test_ops" name="five" time="0"><error message="no">no</error></testcase>
</testsuite></testsuites>"""


def test_seconds_are_summed_by_folder(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(JUNIT)
    figures = read_report(report)
    assert figures == {
        "tests": Figure(5, "tests"),
        "failed": Figure(2, "tests"),
        "tests/ops": Figure(4, "s"),
        "tests/layers": Figure(1.75, "s"),
        "tests/test_top": Figure(0.25, "s"),
    }
    assert list(figures)[2:] == ["tests/ops", "tests/layers", "tests/test_top"]
    report.write_text(JUNIT[:200])
    with pytest.raises(WorkerError, match="cannot be read"):
        read_report(report)


def test_folder_of_a_foreign_name() -> None:
    assert folder_of("elsewhere.test_x") == "elsewhere" and folder_of("") == ""


def test_suite_is_run_as_make_test_runs_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder tests"):
        suite(job(), tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: too slow\n")
    passing = "import os, pytest, time\ndef test_one(): time.sleep(0.3); assert os.environ['OMP_NUM_THREADS'] == '1'\n"
    slow = "@pytest.mark.slow\ndef test_slow(): raise AssertionError\n"
    failing = "def test_two(): assert False\n"
    for folder, text in (("layers", passing + slow), ("ops", failing)):
        (tmp_path / "tests" / folder).mkdir(parents=True)
        (tmp_path / "tests" / folder / f"test_{folder}.py").write_text(text)
    cost = suite(job(), tmp_path)(lambda _: None)
    assert cost.figures["tests"].value == 2 and cost.figures["failed"].value == 1
    assert 0.3 <= cost.figures["tests/layers"].value < cost.figures["all of it"].value
    assert "tests/ops" in cost.figures
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    with pytest.raises(WorkerError, match="pytest ended with code 4"):
        suite(job(), tmp_path)(lambda _: None)
