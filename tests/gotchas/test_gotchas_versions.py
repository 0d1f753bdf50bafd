"""The catalogue over versions of Jittor, with made-up interpreters: nothing is installed and no framework runs.

The interpreter is a script that knows the runner's protocol. A made-up line is an expression that does what it says:
``1.0``, ``fail()``, ``die()``, ``hang()``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from detr_common.errors import InputError
from parity.gotchas import versions
from parity.gotchas.entry import Gotcha, Relation
from parity.gotchas.environments import Place
from parity.gotchas.running import Job, NotStarted, Side, run_jobs
from parity.gotchas.values import Outcome
from parity.gotchas.versions import (
    AGREES,
    DESCRIBED,
    Record,
    Told,
    keep_record,
    mark,
    measure,
    measure_versions,
    read_records,
)

INTERPRETER = """#!{python}
import json, os, signal, sys, time

spoilt = []

def fail(): raise RuntimeError("no")
def lack(): raise AttributeError("nothing of that name")
def die(): os.kill(os.getpid(), signal.SIGSEGV)
def leave_child_and_die():
    child = os.fork()
    if not child: time.sleep(60)
    open({log!r} + ".child", "w").write(str(child))
    die()
def hang(): time.sleep(60)
def spoil(): spoilt.append(1); return 2.0

open({log!r}, "a").write("started\\n")
{start}
print("ready", flush=True)
for job in json.load(sys.stdin):
    if "__version__" in job["line"]:
        answer = {{"kind": "value", "value": [{version!r}, "1.26.4", "3.11.7", 8.0]}}
    else:
        try:
            answer = {{"kind": "value", "value": eval(job["line"])}}
        except Exception as error:
            answer = {{"kind": "raised", "detail": type(error).__name__ + ": " + str(error)}}
    print(json.dumps(answer), flush=True)
"""


def interpreter(path: Path, version: str = "1.2.3", start: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    log = str(path.parent / "log")
    path.write_text(INTERPRETER.format(python=sys.executable, version=version, start=start, log=log))
    path.chmod(0o755)
    return path


def started(path: Path) -> int:
    log = path.parent / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def side(path: Path, limit: float = 20) -> Side:
    return Side(str(path), line_limit=limit, start_limit=limit)


def entry(id: str, naive: str, correct: str = "1.0", torch: str = "1.0", **changes: object) -> Gotcha:
    error = "RuntimeError" if changes.get("relation") is Relation.RAISES else ""
    return Gotcha(id, id.title(), "differs", torch, naive, correct, error=error, **changes)  # type: ignore[arg-type]


def value(number: float) -> Outcome:
    return Outcome("value", number)


TRUTH = {("probe", "torch"): Outcome("value", ["2.4", "1.26.4", "3.11.7", 8.0])}


def told(tmp_path: Path, *entries: Gotcha, truth: Outcome | None = None, limit: float = 20) -> list[Told]:
    given = TRUTH | {(e.id, "torch"): truth or value(1.0) for e in entries}
    record = measure("1.2.3", side(interpreter(tmp_path / "python"), limit), entries, given, lambda _: None)
    assert not record.missing
    return [record.entries[e.id] for e in entries]


@pytest.mark.parametrize(
    ("relation", "naive", "expected"),
    [
        (Relation.DIFFERS, "2.0", DESCRIBED),
        (Relation.DIFFERS, "1.0", AGREES),
        (Relation.DIFFERS, "fail()", "raises RuntimeError: no"),
        (Relation.DIFFERS, "die()", "ends the process (SIGSEGV)"),
        (Relation.RAISES, "fail()", DESCRIBED),
        (Relation.RAISES, "lack()", "raises AttributeError: nothing of that name"),
        (Relation.RAISES, "2.0", "gives something else: 2"),
        (Relation.DIES, "die()", DESCRIBED),
        (Relation.DIES, "1.0", AGREES),
        (Relation.AGREES, "1.0", DESCRIBED),
        (Relation.AGREES, "2.0", "gives something else: 2"),
    ],
)
def test_what_a_naive_line_does_is_told(tmp_path: Path, relation: Relation, naive: str, expected: str) -> None:
    assert told(tmp_path, entry("a", naive, relation=relation)) == [
        Told(mark(entry("a", naive, relation=relation)), expected, AGREES)
    ]


@pytest.mark.parametrize(
    ("correct", "expected"),
    [
        ("1.0", AGREES),
        ("1.1", "gives something else: 1.1"),
        ("lack()", "raises AttributeError: nothing of that name"),
        ("die()", "ends the process (SIGSEGV)"),
    ],
)
def test_what_a_correct_line_does_is_told(tmp_path: Path, correct: str, expected: str) -> None:
    assert [t.correct for t in told(tmp_path, entry("a", "2.0", correct))] == [expected]


def test_a_line_that_raises_for_another_reason_than_pytorch_does_not_agree(tmp_path: Path) -> None:
    truth = Outcome("raised", detail="RuntimeError: as it must")
    right, wrong = told(tmp_path, entry("a", "2.0", "fail()"), entry("b", "2.0", "lack()"), truth=truth)
    assert right.correct == AGREES
    assert wrong.correct.startswith("raises AttributeError")


def test_a_nearly_right_line_is_told_from_one_as_described(tmp_path: Path) -> None:
    near = entry("a", "1.00001", bound=1e-8, apart=1e-3)
    assert told(tmp_path, near)[0].naive == "agrees with PyTorch to 1e-05"
    assert told(tmp_path, replace(near, naive="2.0", correct="1.00001"))[0].correct.startswith("gives something else")


def test_a_line_that_hangs_is_stopped_and_the_rest_goes_on(tmp_path: Path) -> None:
    hanging, after = told(tmp_path, entry("a", "hang()"), entry("b", "2.0"), limit=2)
    assert (hanging.naive, hanging.correct) == ("hangs (stopped after 2 s)", AGREES)
    assert (after.naive, after.correct) == (DESCRIBED, AGREES)


def test_a_process_that_ends_and_leaves_a_child_holding_its_output_is_not_waited_for(tmp_path: Path) -> None:
    job = Job(entry("a", "leave_child_and_die()"), "naive")
    begun = time.monotonic()
    outcome = run_jobs([job], side(interpreter(tmp_path / "python"), 50))[job.key]
    assert outcome == Outcome("died", detail="SIGSEGV")
    assert time.monotonic() - begun < 40
    child = Path("/proc", (tmp_path / "log.child").read_text(), "stat")
    while time.monotonic() - begun < 40 and lives(child):
        time.sleep(0.1)
    assert not lives(child)


def lives(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_line_that_was_spoilt_by_an_earlier_one_is_judged_on_its_own(tmp_path: Path) -> None:
    spoilt = told(tmp_path, entry("a", "spoil()"), entry("b", "die() if spoilt else 2.0"))[1]
    assert spoilt.naive == DESCRIBED
    spoilt = told(tmp_path, entry("a", "spoil()"), entry("b", "1.0 if spoilt else 2.0"))[1]
    assert spoilt.naive == DESCRIBED


def test_a_line_that_needs_pytorch_is_not_run(tmp_path: Path) -> None:
    assert told(tmp_path, entry("a", "import torch; die()"))[0].naive == "not run: needs PyTorch beside it"


def test_a_pytorch_line_that_died_judges_nothing(tmp_path: Path) -> None:
    dead = told(tmp_path, entry("a", "die()"), truth=Outcome("died", detail="SIGSEGV"))[0]
    assert dead.naive.startswith("not run")
    assert dead.correct.startswith("not run")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (
            "sys.stderr.write('Traceback\\nImportError: /some/where/core.so: too old\\n'); sys.exit(1)",
            "cannot be imported: ImportError: core.so: too old (the process ended with exit code 1)",
        ),
        ("die()", "cannot be imported: the process ended with SIGSEGV"),
        ("hang()", "cannot be imported: the process was stopped after 2 s"),
    ],
)
def test_a_version_that_cannot_be_imported_is_a_result(tmp_path: Path, start: str, expected: str) -> None:
    path = interpreter(tmp_path / "python", start=start)
    record = measure("1.2.3", side(path, 2), [entry("a", "2.0")], TRUTH, lambda _: None)
    assert (record.missing, record.entries) == (expected, {})


def test_a_runner_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    path = interpreter(tmp_path / "python", start="sys.exit('no torch')")
    with pytest.raises(NotStarted, match="no torch"):
        run_jobs([Job(entry("a", "1"), "torch")], side(path))


def test_another_version_than_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    path = interpreter(tmp_path / "python", version="1.2.4")
    with pytest.raises(InputError, match=r"1\.2\.4 is installed where 1\.2\.3 should be"):
        measure("1.2.3", side(path), [], TRUTH, lambda _: None)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Place]:
    """Makes a place where a version seems to be installed; PyTorch's lines run in a made-up interpreter too."""
    main_side = side(interpreter(tmp_path / "main" / "python", version="2.4"))
    monkeypatch.setattr(versions, "Side", lambda: main_side)
    monkeypatch.setattr(versions, "check_space", lambda _: None)
    monkeypatch.setattr(versions, "install", lambda place: "" if place.python.exists() else "no wheel")

    def make(version: str, found: str | None = None) -> Place:
        place = Place(version, tmp_path / version)
        interpreter(place.python, found or version)
        return place

    return make


def test_what_was_measured_is_not_measured_again(tmp_path: Path, installed: Callable[..., Place]) -> None:
    place, path = installed("1.2.3"), tmp_path / "versions.json"
    first = measure_versions([place], [entry("a", "2.0"), entry("b", "2.0")], lambda _: None, path)
    count = started(place.python)
    assert measure_versions([place], [entry("a", "2.0"), entry("b", "2.0")], lambda _: None, path) == first
    assert started(place.python) == count
    measure_versions([place], [entry("a", "2.0"), entry("b", "2.0")], lambda _: None, path, again=True)
    assert started(place.python) > count


def test_an_entry_that_was_changed_is_measured_again(tmp_path: Path, installed: Callable[..., Place]) -> None:
    place, path = installed("1.2.3"), tmp_path / "versions.json"
    measure_versions([place], [entry("a", "2.0"), entry("b", "2.0")], lambda _: None, path)
    said: list[str] = []
    measure_versions([place], [entry("a", "2.0"), entry("b", "1.0")], said.append, path)
    assert "1.2.3: running 2 lines" in said
    entries = read_records(path)["1.2.3"].entries
    assert (entries["a"].naive, entries["b"].naive) == (DESCRIBED, AGREES)


def test_a_broken_off_run_keeps_the_versions_that_were_done(tmp_path: Path, installed: Callable[..., Place]) -> None:
    path = tmp_path / "versions.json"
    done, broken = installed("1.2.3"), installed("1.2.4", found="9.9.9")
    with pytest.raises(InputError):
        measure_versions([done, broken], [entry("a", "2.0")], lambda _: None, path)
    assert list(read_records(path)) == ["1.2.3"]
    count = started(done.python)
    interpreter(broken.python, "1.2.4")
    measure_versions([done, broken], [entry("a", "2.0")], lambda _: None, path)
    assert list(read_records(path)) == ["1.2.3", "1.2.4"]
    assert started(done.python) == count


def test_a_version_that_cannot_be_installed_is_a_record(tmp_path: Path, installed: Callable[..., Place]) -> None:
    missing = Place("1.2.2", tmp_path / "nowhere")
    missing.folder.mkdir()
    records = measure_versions([missing, installed("1.2.3")], [entry("a", "2.0")], lambda _: None, tmp_path / "v.json")
    assert [record.missing for record in records] == ["cannot be installed: no wheel", ""]


def test_records_come_back_as_they_were_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "versions.json"
    old = Record("1.3.9.14", "", {"python": "3.11.7"}, {"a": Told("0", 'says "no"', AGREES), "b": Told("1", DESCRIBED)})
    new = Record("1.3.10.0", "cannot be imported: x")
    for record in (new, old):
        keep_record(path, record)
    assert list(read_records(path).items()) == [("1.3.9.14", old), ("1.3.10.0", new)]
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InputError, match=r"versions\.json"):
        read_records(path)
