import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from detr_common import jittor_onednn
from detr_common.jittor_onednn import apply, find_wheels, plan


@pytest.fixture(autouse=True)
def _processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jittor_onednn.platform, "machine", lambda: "x86_64")


@pytest.fixture
def prefix(tmp_path: Path, library: Path) -> Path:
    return make_prefix(tmp_path / "environment", library)


def make_prefix(prefix: Path, library: Path, major: int = 2) -> Path:
    (prefix / "lib").mkdir(parents=True)
    (prefix / "include/oneapi/dnnl").mkdir(parents=True)
    for name in ("libdnnl.so", "libdnnl.so.2"):
        shutil.copy(library, prefix / "lib" / name)
    (prefix / "include/dnnl.hpp").write_text("// headers\n")
    (prefix / "include/oneapi/dnnl/dnnl_version.h").write_text(f"#define DNNL_VERSION_MAJOR {major}\n")
    return prefix


@pytest.fixture
def root() -> Path:
    return Path.home() / ".cache/jittor"


def home_of(root: Path) -> Path:
    return root / "mkl/dnnl_lnx_2.2.0_cpu_gomp"


def test_links_what_jittor_looks_for(root: Path, prefix: Path) -> None:
    decision = plan(root, [prefix])
    assert decision.state == "to link" and not root.exists(), "a plan changes nothing"
    assert apply(decision).state == "linked"
    home = home_of(root)
    assert (home / "lib/libmkldnn.so").resolve() == prefix / "lib/libdnnl.so"
    assert (home / "lib/libdnnl.so.2").is_file(), "a program linked to it asks for this name"
    assert (home / "include/dnnl.hpp").is_file()
    assert plan(root, [prefix]).state == "present"


def test_links_into_a_removed_environment_are_renewed(root: Path, prefix: Path, library: Path, tmp_path: Path) -> None:
    apply(plan(root, [prefix]))
    shutil.rmtree(prefix)
    new = make_prefix(tmp_path / "new", library)
    assert apply(plan(root, [new])).state == "linked"
    assert (home_of(root) / "lib/libmkldnn.so").resolve() == new / "lib/libdnnl.so"
    assert (home_of(root) / "include").resolve() == new / "include"
    assert sorted(os.listdir(home_of(root))) == ["include", "lib"]


def test_links_of_a_living_environment_stay(root: Path, prefix: Path, library: Path, tmp_path: Path) -> None:
    apply(plan(root, [prefix]))
    other = make_prefix(tmp_path / "other", library)
    assert plan(root, [other]).state == "present"
    assert (home_of(root) / "lib/libmkldnn.so").resolve() == prefix / "lib/libdnnl.so"


def test_jittors_own_download_is_left_alone(root: Path, prefix: Path, library: Path) -> None:
    own = home_of(root)
    (own / "lib").mkdir(parents=True)
    (own / "include").mkdir()
    shutil.copy(library, own / "lib/libmkldnn.so")
    (own / "include/dnnl.hpp").touch()
    decision = plan(root, [prefix])
    assert decision.state == "present" and apply(decision) is decision
    assert not (own / "lib/libmkldnn.so").is_symlink() and not (own / "include").is_symlink()


def test_broken_off_unpacking_is_moved_aside_and_kept(root: Path, prefix: Path) -> None:
    half = home_of(root) / "include"
    half.mkdir(parents=True)
    (half / "dnnl_types.h").write_text("half of it")
    assert apply(plan(root, [prefix])).state == "linked"
    assert (half / "dnnl.hpp").is_file()
    aside = [path for path in home_of(root).iterdir() if "incomplete" in path.name]
    assert len(aside) == 1 and (aside[0] / "dnnl_types.h").read_text() == "half of it"


def test_link_to_a_cut_library_is_renewed(root: Path, prefix: Path, library: Path, tmp_path: Path) -> None:
    apply(plan(root, [prefix]))
    os.truncate(prefix / "lib/libdnnl.so", 700)
    new = make_prefix(tmp_path / "new", library)
    assert apply(plan(root, [prefix, new])).state == "linked"
    assert (home_of(root) / "lib/libmkldnn.so").resolve() == new / "lib/libdnnl.so"


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda prefix: (prefix / "lib/libdnnl.so").unlink(), "libdnnl.so is missing"),
        (lambda prefix: (prefix / "include/dnnl.hpp").unlink(), "onednn-devel-cpu-gomp"),
        (lambda prefix: os.truncate(prefix / "lib/libdnnl.so", 700), "cut short"),
        (lambda prefix: (prefix / "include/oneapi/dnnl/dnnl_version.h").unlink(), "cannot be read"),
    ],
)
def test_incomplete_wheels_are_refused(root: Path, prefix: Path, spoil, word: str) -> None:
    spoil(prefix)
    decision = plan(root, [prefix])
    assert decision.state == "missing" and word in decision.reason
    assert apply(decision) is decision and not root.exists()


def test_other_major_version_is_refused(root: Path, tmp_path: Path, library: Path) -> None:
    new = make_prefix(tmp_path / "three", library, major=3)
    assert "oneDNN 3" in plan(root, [new]).reason
    old = make_prefix(tmp_path / "two", library)
    assert find_wheels([new, old]) == (old, "")


def test_place_that_cannot_be_written(root: Path, prefix: Path) -> None:
    root.parent.mkdir(parents=True)
    root.touch()
    decision = apply(plan(root, [prefix]))
    assert decision.state == "missing" and "no link could be made" in decision.reason


def test_own_variable_decides(root: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("use_mkl", "0")
    assert plan(root, [prefix]).state == "user"


def test_many_at_once(root: Path, prefix: Path) -> None:
    """Each replaces a link by an equal one; nobody may ever see it gone or fail."""
    seen = home_of(root) / "lib/libmkldnn.so"
    gone = []

    def once(index: int) -> str:
        state = apply(plan(root, [prefix]) if index % 2 else forced).state
        if not seen.is_file():
            gone.append(index)
        return state

    forced = plan(root, [prefix])
    with ThreadPoolExecutor(16) as pool:
        states = set(pool.map(once, range(200)))
    assert states <= {"linked", "present"} and not gone
    assert sorted(os.listdir(home_of(root))) == ["include", "lib"]
    assert sorted(os.listdir(home_of(root) / "lib")) == ["libdnnl.so.2", "libmkldnn.so"]


def test_running_environment_is_searched(monkeypatch: pytest.MonkeyPatch, prefix: Path) -> None:
    monkeypatch.setattr(jittor_onednn.sys, "prefix", str(prefix))
    assert find_wheels() == (prefix, "")
