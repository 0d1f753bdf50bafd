"""The environments of the versions of Jittor: what is refused, and what pip's words mean. Nothing is installed."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from detr_common.errors import InputError
from parity.cli import main
from parity.gotchas import environments
from parity.gotchas.environments import Place, check_space, install, judge_installation, places, without_paths


@pytest.mark.parametrize("text", ["", " , ", "latest", "1", "1.3.x", "../1.3.9", "1.3.9 1.3.10", "1.3.9;1.3.10"])
def test_what_is_no_version_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--versions", text) == 2
    assert "--versions" in capsys.readouterr().err


def command(*arguments: str) -> int:
    old, sys.argv = sys.argv, ["parity", "gotchas", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = old


@pytest.mark.parametrize("arguments", [("--folder", "x"), ("--again",), ("--versions", "1.2.3", "--check")])
def test_options_that_do_not_go_together_are_refused(arguments: tuple[str, ...]) -> None:
    assert command(*arguments) == 2


def test_versions_are_taken_once_each(tmp_path: Path) -> None:
    assert [p.version for p in places("1.3.9.14, 1.3.10.0,1.3.9.14", tmp_path)] == ["1.3.9.14", "1.3.10.0"]


def test_too_little_space_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "NEEDED", 2**60)
    with pytest.raises(InputError, match="1 environments need"):
        check_space([Place("1.2.3", tmp_path / "new" / "1.2.3")])


_PIP = (
    "ERROR: Could not find a version that satisfies the requirement jittor==9.9 (from versions: {})\nERROR: No matching"
)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (_PIP.format("1.3.10.0, 1.3.11.0"), "has no Jittor 9.9; the latest it has: 1.3.10.0, 1.3.11.0"),
        (_PIP.format("none"), "cannot be reached"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("The virtual environment was not created because ensurepip is not available.", "python3-venv"),
    ],
)
def test_a_fault_that_is_not_the_versions_is_an_error(output: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        judge_installation("9.9", output)


def test_a_version_that_does_not_build_says_so_in_its_column() -> None:
    said = judge_installation(
        "9.9", "  error: no\nERROR: Failed building wheel of /tmp/x/jittor.tar.gz\n[notice] new pip"
    )
    assert said == "Failed building wheel of jittor.tar.gz"


def test_messages_lose_the_paths_of_this_machine() -> None:
    assert without_paths("no '/home/me/.cache/a.so': 1/2 of a/b") == "no 'a.so': 1/2 of a/b"


def test_the_kernels_of_a_version_stay_out_of_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JITTOR_HOME", "/elsewhere")
    variables = Place("1.2.3", tmp_path).side.environment or {}
    assert variables["HOME"] == str(tmp_path / "home")
    assert "JITTOR_HOME" not in variables
    assert variables["PYTHONPATH"] == str(tmp_path / "packages")


def test_an_environment_is_made_once_and_sees_only_what_the_lines_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make(place: Place) -> str:
        made.append(place.version)
        place.python.parent.mkdir(parents=True, exist_ok=True)
        place.python.touch()
        return "ERROR: no wheel" if len(made) == 1 else ""

    monkeypatch.setattr(environments, "_make", make)
    place = Place("1.2.3", tmp_path)
    assert [install(place), install(place), install(place)] == ["no wheel", "", ""]
    assert made == ["1.2.3"] * 2
    assert sorted(p.name for p in (tmp_path / "packages").iterdir()) == ["detr_common", "parity", "weight_convert"]
    assert [p.name for p in (tmp_path / "packages" / "parity").iterdir()] == ["gotchas"]


def test_a_disk_that_fills_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(_: Place) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "venv")

    monkeypatch.setattr(environments, "_make", make)
    with pytest.raises(InputError, match="venv: cannot be written: No space left"):
        install(Place("1.2.3", tmp_path))
