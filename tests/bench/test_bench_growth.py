"""``parity bench --over``: what grows faster than the arithmetic is told, and the arithmetic is that of a step."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from detr_common.errors import InputError
from detr_common.options import training_args
from parity.bench import drawing, work, work_cli
from parity.bench.loads import KINDS, Load, parse_over
from parity.bench.measure import WARM_UP
from parity.bench.sides import build
from parity.bench.work import ALLOWANCE, judge

SMALL = {"backbone": "resnet18", "enc_layers": 1, "dec_layers": 2, "hidden_dim": 64, "nheads": 4, "num_queries": 12}
OPTIONS = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
BASE = Load((64, 64), batch_size=2, num_queries=12, enc_layers=1, dec_layers=2)
LINEAR = [1.0, 2.0, 4.0, 8.0]
SQUARE = [value**2 for value in LINEAR]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parity", "bench", "--sizes", "64", "--rounds", "1", *OPTIONS, *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize(
    ("seconds", "memory", "beyond"),
    [
        (LINEAR, LINEAR, []),
        (SQUARE, LINEAR, ["time"]),
        (LINEAR, SQUARE, ["memory"]),
        (SQUARE, SQUARE, ["time", "memory"]),
        # A part that does not grow is no fault.
        ([value + 3 for value in LINEAR], [value + 200 for value in LINEAR], []),
        # What grows a little faster is, once it is more than the allowance.
        ([value**1.04 for value in LINEAR], LINEAR, []),
        ([value**1.06 for value in LINEAR], LINEAR, ["time"]),
        (LINEAR, [0.0, 1.0, 2.0, 4.0], ["memory"]),
        (LINEAR, [1.0, 1.0, 1.0, float("nan")], ["memory"]),
    ],
)
def test_what_grows_faster_than_the_arithmetic_is_told(
    seconds: list[float], memory: list[float], beyond: list[str]
) -> None:
    growth = judge("batch", "detr_jt", [1e9 * value for value in LINEAR], seconds, memory)
    assert growth.arithmetic == 8.0
    assert growth.beyond() == beyond
    assert growth.to_json()["within"] is not bool(beyond)


def test_the_allowance_is_small() -> None:
    assert 1.0 < ALLOWANCE <= 1.1


def small(over: str, sides: tuple[str, ...] = ("detr_pt", "detr_jt")) -> work_cli.Request:
    args = training_args(**SMALL, batch_size=2)
    return work_cli.check_request(args, over, [(64, 64)], sides, 2, 1, None)


Cost = Callable[[str, float], float]


def planted(monkeypatch: pytest.MonkeyPatch, seconds: Cost, memory: Cost) -> list[dict[str, Any]]:
    """Put in place of each process one whose cost is told: of a side, for a load as large as a number of images."""
    built: list[dict[str, Any]] = []

    class Told:
        def __init__(self, name: str, threads: int) -> None:
            self.name, self.steps, self.images = name, 0, 0.0

        def __enter__(self) -> Told:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ask(self, what: str, **more: Any) -> Any:
            if what == "build":
                built.append({"side": self.name, "size": more["size"], **more["args"]})
                self.images = more["args"]["batch_size"] * more["size"][0] * more["size"][1] / 64**2
            elif what == "operations":
                return int(1e9 * self.images)
            elif what in ("resident", "memory"):
                assert (self.steps == 0) == (what == "resident")
                return 500.0 + (memory(self.name, self.images) if what == "memory" else 0.0)
            else:
                self.steps += 1
                return 100.0 if self.steps <= WARM_UP else seconds(self.name, self.images)
            return None

    monkeypatch.setattr(work, "Side", Told)
    return built


@pytest.mark.parametrize(
    ("seconds", "memory", "told"),
    [
        (lambda side, images: 0.1 + images, lambda side, images: 50 + 10 * images, {}),
        (lambda side, images: images ** (2 if side == "detr_jt" else 1), lambda side, images: images, {"time"}),
        (lambda side, images: images, lambda side, images: images ** (2 if side == "detr_jt" else 1), {"memory"}),
    ],
)
def test_a_planted_growth_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: Cost, memory: Cost, told: set[str]
) -> None:
    built = planted(monkeypatch, seconds, memory)
    within = work_cli.measure_growth(small("area=64:128,batch=1:2:4"), True, None, lambda _: None)
    report = json.loads(capsys.readouterr().out)
    assert within is report["within"] is not bool(told)
    for series in report["series"]:
        assert [set(one["beyond"]) for one in series["growth"]] == [set(), set(told)]
    # Two images of 64 pixels are in both series and measured once; each load has its three processes.
    assert len(built) == 3 * 4
    assert [one["batch_size"] for one in built] == [2, 2, 1, 4] + [number for number in (2, 2, 1, 4) for _ in range(2)]
    batch = report["series"][1]
    assert [cost["sides"]["detr_pt"]["before"] for cost in batch["costs"]] == [500.0] * 3
    assert [len(cost["sides"]["detr_pt"]["step"]) for cost in batch["costs"]] == [2] * 3
    assert batch["growth"][0]["arithmetic"] == 4.0


def test_tables_name_what_is_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda side, images: images**2, lambda side, images: images**2)
    request = small("batch=1:8", sides=("detr_pt",))
    console = Console(width=160, record=True, file=io.StringIO())
    series = list(work.measure_series(request.args, request.variables, request.sides, 1, 1))
    work_cli.print_base(console, request)
    work_cli.print_series(console, series[0])
    work_cli.print_growths(console, series)
    text = " ".join(console.export_text().split())
    assert "batch 1 to 8 detr_pt 8.00 64.00 64.00 no: time and memory" in text
    assert "images of 64x64, batch 2, 12 queries" in text and "1.1 times" in text


def operations(size: tuple[int, int] = (64, 96), **changes: int) -> int:
    package = build("detr_pt", vars(training_args(**{**SMALL, "batch_size": 2, **changes})), size)
    package.training(True)
    return package.operations()


def test_arithmetic_is_that_of_a_step() -> None:
    """An encoder layer more costs what its products are: once forward, twice backward."""
    tokens, images, features, inner = (64 // 32) * (96 // 32), 2, 64, 2048
    projections = 2 * tokens * images * (4 * features * features + 2 * features * inner)
    attention = 2 * 2 * tokens * tokens * features * images
    whole = operations()
    assert operations(enc_layers=2) - whole == 3 * (projections + attention)
    assert operations(batch_size=4) == 2 * whole


def test_values_are_sorted_and_the_rest_stays() -> None:
    area, queries, layers = parse_over("area=96x64:64:128, queries=9:4,layers", BASE)
    assert area.labels() == ["64x64", "96x64", "128x128"] and area.amounts() == [4096, 6144, 16384]
    assert queries.loads == (Load((64, 64), 2, 4, 1, 2), Load((64, 64), 2, 9, 1, 2))
    assert [(load.enc_layers, load.dec_layers) for load in layers.loads] == [(1, 1), (2, 2), (4, 4), (6, 6)]
    assert [one.name for one in parse_over(",".join(KINDS), BASE)] == ["area", "batch", "queries", "layers"]


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ("", "there is no ''; area, batch, queries, layers"),
        ("batches", "there is no 'batches'; did you mean batch"),
        ("batch,batch", "batch is given twice"),
        ("batch=2", "two values or more, as batch=1:2:4:8"),
        ("batch=", "'' is no whole number"),
        ("batch=1:two", "'two' is no whole number"),
        ("queries=0:5", "'0' is no whole number of at least 1"),
        ("layers=-1:5", "'-1' is no whole number"),
        ("layers=1:2:2", "two values are as large as each other"),
        ("area=64x96:96x64", "two values are as large as each other"),
        ("area=16:64", "at least 32 pixels"),
    ],
)
def test_values_that_cannot_be_used(over: str, told: str) -> None:
    with pytest.raises(InputError, match="--over") as caught:
        parse_over(over, BASE)
    assert told in str(caught.value)


def test_drawings_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.svg").mkdir()
    for name, told in (
        ("a.png", "ends with .svg"),
        ("folder.svg", "is a folder"),
        ("none/a.svg", "there is no folder"),
    ):
        with pytest.raises(InputError, match=told):
            drawing.check_drawing("--draw", tmp_path / name)
    drawing.check_drawing("--draw", None)
    drawing.check_drawing("--draw", tmp_path / "a.svg")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="you may not write to"):
        drawing.check_drawing("--draw", tmp_path / "a.svg")


def test_a_drawing_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda side, images: images, lambda side, images: images - 1)
    request = small("area=64:128,batch=1:2")
    series = list(work.measure_series(request.args, request.variables, request.sides, 1, 1))
    path = tmp_path / "a.svg"
    path.write_text("old")
    drawing.draw(series, path)
    first = path.read_bytes()
    drawing.draw(series, path)
    assert path.read_bytes() == first and first.startswith(b"<?xml") and b"detr_jt" in first

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"a\.svg: cannot be written \(No space left on device\)"):
        drawing.draw(series, path)
    assert path.read_bytes() == first and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--over", "bach"], "--over: there is no 'bach'; did you mean batch"),
        (["--over", "batch", "--sizes", "64,96"], "starts from one size"),
        (["--over", "batch", "--draw", "none/a.svg"], "there is no folder none"),
        (["--draw", "a.svg"], "add --over"),
        (["--ovr", "batch"], "no such option: --ovr; did you mean --over"),
    ],
)
def test_wrong_use_is_one_line(bench_here: Any, arguments: list[str], told: str) -> None:
    run = bench_here("--sizes", "64", "--rounds", "1", *OPTIONS, *arguments)
    assert run.returncode == 2 and told in run.stderr, run.stderr
    assert "Traceback" not in run.stderr and not run.stdout


def test_the_gpu_is_refused() -> None:
    args = training_args(**SMALL, device="cuda")
    with pytest.raises(InputError, match="--over: measures the memory of the processor"):
        work_cli.check_request(args, "batch", [(64, 64)], ("detr_pt",), 1, 1, None)


def test_both_sides_are_measured(tmp_path: Path) -> None:
    path = tmp_path / "growth.svg"
    run = bench("--over", "area=64:96", "--json", "--draw", str(path), "--batch_size", "1")
    report = json.loads(run.stdout)
    # What so small a step takes says nothing about growth; that it is told does.
    assert run.returncode == (0 if report["within"] else 1), run.stderr
    assert report["allowance"] == ALLOWANCE and report["base"]["batch_size"] == 1 and report["rounds"] == 1
    (series,) = report["series"]
    assert series["over"] == "area" and [cost["value"] for cost in series["costs"]] == ["64x64", "96x96"]
    assert [one["side"] for one in series["growth"]] == ["detr_pt", "detr_jt"]
    assert 2.0 < series["growth"][0]["arithmetic"] < 2.5
    for cost in series["costs"]:
        for taken in cost["sides"].values():
            assert len(taken["step"]) == 1 and taken["median_step"] > 0
            assert 100 < taken["before"] < taken["peak"] < 4000
            assert taken["memory"] == taken["peak"] - taken["before"]
    assert b"</svg>" in path.read_bytes()
