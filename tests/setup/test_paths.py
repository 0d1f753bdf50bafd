import json
from pathlib import Path

import pytest

from detr_common.errors import InputError
from detr_common.jittor_paths import cache_directory, compiler_version, jittor_home, jittor_root


def write_config(text: str) -> Path:
    file = Path.home() / ".cache/jittor/config.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def test_home_is_the_users() -> None:
    assert jittor_home() == Path.home()
    assert not jittor_root().exists(), "looking must not create anything"


def test_home_from_the_settings_of_jittor(tmp_path: Path) -> None:
    write_config(json.dumps({"JITTOR_HOME": str(tmp_path / "elsewhere")}))
    assert jittor_root() == tmp_path / "elsewhere/.cache/jittor"


def test_variable_wins_over_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_config(json.dumps({"JITTOR_HOME": "/settings"}))
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "mine"))
    assert jittor_home() == tmp_path / "mine"
    assert "/settings" in file.read_text(), "Jittor writes its settings, we do not"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"JITTOR_HOME": 3}'])
def test_damaged_settings_are_named(text: str) -> None:
    file = write_config(text)
    with pytest.raises(InputError, match="rm ") as caught:
        jittor_home()
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["default", "strict", "a/b", "with (brackets) {and}"])
@pytest.mark.parametrize("debug", ["0", "1"])
def test_same_directory_as_jittor(python, monkeypatch: pytest.MonkeyPatch, name: str, debug: str) -> None:
    monkeypatch.setenv("debug", debug)
    run = python("import jittor_utils; print(jittor_utils.cache_path)", cache_name=name, log_silent="1")
    assert run.returncode == 0, run.stderr
    assert str(cache_directory(name)) == run.stdout.strip()


def test_version_as_jittor_reads_it(tmp_path: Path) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho 'g++ (Distribution 13.1.0-2) 13.2.1 20240101'\n")
    compiler.chmod(0o755)
    assert compiler_version(str(compiler)) == "13.2.1"


@pytest.mark.parametrize("script", ["exit 1", "echo no number"])
def test_compiler_that_does_not_answer(tmp_path: Path, script: str) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    with pytest.raises(InputError, match="cc_path"):
        compiler_version(str(compiler))


def test_no_compiler_no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert cache_directory("default") is None
