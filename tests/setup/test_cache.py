import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detr_common import jittor_cache
from detr_common.errors import InputError
from detr_common.jittor_cache import broken_files, check_cache, clean_cache, remove_cache, writing_problem

CORE = "jittor_core.cpython-311-x86_64-linux-gnu.so"
FIRST = "jit_utils_core.cpython-311-x86_64-linux-gnu.so"


@pytest.fixture
def cache(library: Path) -> Path:
    """A cache directory as Jittor fills it, in miniature."""
    path = Path.home() / ".cache/jittor/jt1.3.11/g++12.2.0/py3.11.7/system/processor/7b6b/default"
    for name in (FIRST, CORE, "jit/kernel_op.so", "custom_ops/mkl.so", "obj_files/var.cc.o", "data.o"):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(library.with_suffix(file.suffix).read_bytes())
        if name != "data.o":
            Path(f"{file}.key").write_text("the command that made it")
    (path / "data.md5").write_text("0" * 32)
    (path.parent / "jittor.lock").touch()
    return path


def cut(file: Path, size: int = 700) -> Path:
    os.truncate(file, size)
    return file


@pytest.fixture
def holder(cache: Path):
    """Another process that holds Jittor's lock, as one that compiles does."""
    code = f"import fcntl; f = open({str(cache.parent / 'jittor.lock')!r}, 'r+'); fcntl.KIND(f, fcntl.LOCK_EX); "
    code += "print('held', flush=True); input()"
    processes = []

    def hold(kind: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", code.replace("KIND", kind)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        processes.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"held\n"

    yield hold
    for process in processes:
        process.communicate()


def test_sound_cache_passes(cache: Path) -> None:
    assert broken_files(cache, thorough=True) == []
    check_cache(cache)


def test_missing_cache_passes(tmp_path: Path) -> None:
    assert broken_files(tmp_path / "none") == []
    check_cache(tmp_path / "none" / "default")


@pytest.mark.parametrize("name", [FIRST, CORE, "jit/kernel_op.so", "custom_ops/mkl.so"])
@pytest.mark.parametrize("size", [0, 700])
def test_cut_library_is_named_with_the_command(cache: Path, name: str, size: int) -> None:
    file = cut(cache / name, size)
    with pytest.raises(InputError) as caught:
        check_cache(cache)
    assert str(file) in str(caught.value)
    assert "python -m parity doctor --clean-cache" in str(caught.value)


def test_library_without_key_is_compiled_again_by_jittor(cache: Path) -> None:
    for name in (CORE, "jit/kernel_op.so"):
        Path(f"{cut(cache / name)}.key").unlink()
    check_cache(cache)


def test_first_library_is_loaded_without_looking_at_its_key(cache: Path) -> None:
    Path(f"{cut(cache / FIRST)}.key").unlink()
    with pytest.raises(InputError, match="jit_utils_core"):
        check_cache(cache)


def test_object_file_matters_when_the_core_must_be_linked(cache: Path) -> None:
    cut(cache / "obj_files/var.cc.o")
    check_cache(cache)
    (cache / CORE).unlink()
    with pytest.raises(InputError, match=r"var\.cc\.o"):
        check_cache(cache)


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_library_that_another_process_is_writing_is_no_damage(cache: Path, holder, kind: str) -> None:
    cut(cache / "jit/kernel_op.so")
    holder(kind)
    check_cache(cache)
    with pytest.raises(InputError, match="another process"):
        clean_cache(cache)
    with pytest.raises(InputError, match="another process"):
        remove_cache(cache)
    assert (cache / CORE).exists() and (cache / "jit/kernel_op.so").exists()


def test_clean_removes_what_is_broken_and_nothing_else(cache: Path) -> None:
    before = {path for path in cache.rglob("*") if path.is_file()}
    broken = {cut(cache / name) for name in (CORE, "jit/kernel_op.so", "obj_files/var.cc.o", "data.o")}
    expected = broken | {Path(f"{path}.key") for path in broken if path.name != "data.o"} | {cache / "data.md5"}
    assert set(clean_cache(cache)) == expected
    assert {path for path in cache.rglob("*") if path.is_file()} == before - expected
    assert clean_cache(cache) == []


def test_remove_takes_one_configuration_only(cache: Path) -> None:
    other = cache.with_name("other")
    other.mkdir()
    assert remove_cache(cache)
    assert not cache.exists() and other.exists()
    assert not remove_cache(cache)


@pytest.mark.parametrize("way_out", ["..", "../..", ".", "../../../../../../../.."])
def test_remove_refuses_a_name_that_leads_elsewhere(cache: Path, way_out: str) -> None:
    with pytest.raises(InputError, match="by hand"):
        remove_cache(cache.parent / way_out)
    assert (cache / CORE).exists()


def test_file_in_the_way_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "in the way" in (writing_problem(tmp_path / "file" / "default") or "")
    with pytest.raises(InputError, match="in the way"):
        check_cache(tmp_path / "file" / "default")


@pytest.mark.parametrize("name", ["default", "jittor.lock"])
def test_cache_of_another_user(cache: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = os.access
    monkeypatch.setattr(jittor_cache.os, "access", lambda path, mode: Path(path).name != name and real(path, mode))
    with pytest.raises(InputError, match=f"{name} cannot be written"):
        check_cache(cache)


def test_two_thousand_kernels_are_checked_in_a_moment(cache: Path) -> None:
    for index in range(2000):
        os.link(cache / "jit/kernel_op.so", cache / f"jit/kernel_{index}.so")
        os.link(cache / "jit/kernel_op.so.key", cache / f"jit/kernel_{index}.so.key")
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        assert broken_files(cache) == []
        best = min(best, time.process_time() - start)
    assert best < 0.25, "24 ms where it was written; ten times as much is no longer cheap"
