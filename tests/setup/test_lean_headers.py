"""Jittor's headers without what kernels do not use: known, harmless, and never a reason not to compile."""

import os
import subprocess
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pytest

from detr_common import jittor_lean
from detr_common.jittor_lean import CUTS, Cut

ROOT = Path(__file__).parents[2]
JITTOR = find_spec("jittor")
assert JITTOR and JITTOR.origin
SOURCES = Path(JITTOR.origin).parent / "src"

# Kernels that call what the lean headers do not have, and one that is wrong by itself. None of them is in a cache.
KERNELS = """
import os
from detr_common.jittor_ready import ready
ready()
import jittor as jt
from detr_common import jittor_headers
print("used:", jittor_headers.use(jt), "lean:", "/lean" in jt.flags.cc_flags)
def kernel(code):
    return jt.code((1,), "float32", [jt.array([3.0])], cpu_src=f"{code} // {os.getpid()}\\n").numpy()[0]
print("number:", kernel("@out(0) = std::stoi(std::to_string(12)) + @in0(0);"))
print("vector:", kernel("vector<int64> v{4, 5}; NanoVector n(v); @out(0) = n.to_vector()[1] * @in0(0);"))
print("name:", kernel('@out(0) = NanoString("float64").dsize();'))
print("node:", kernel("@out(0) = get_node(-1) == nullptr;"))
try:
    kernel("@out(0) = there_is_no_such_function();")
except RuntimeError:
    print("wrong: refused")
"""


def test_a_kernel_that_uses_what_was_cut_is_compiled_from_the_whole_headers() -> None:
    # With flags of the user's no header is compiled before.
    own = {name: value for name, value in os.environ.items() if name != "cc_flags"}
    run = subprocess.run(
        [sys.executable, "-c", KERNELS],
        env=own | {"HOME": os.environ["REAL_HOME"], "nvcc_path": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    said = dict(line.split(": ", 1) for line in run.stdout.splitlines() if ": " in line)
    assert said["used"] == "True lean: True"
    assert [float(said[name]) for name in ("number", "vector", "name", "node")] == [15.0, 15.0, 8.0, 1.0]
    assert said["wrong"] == "refused"
    assert "there_is_no_such_function" in run.stdout + run.stderr, "what the compiler says is shown"
    assert "deleted function" not in run.stdout + run.stderr, "and not what it says of the lean headers"


@pytest.mark.parametrize("name", [name for name in CUTS if name != "bits/basic_string.h"])
def test_each_cut_is_known_in_the_installed_headers(name: str) -> None:
    text = (SOURCES / name).read_text()
    for cut in CUTS[name]:
        left = cut.apply(text)
        assert left, f"{cut.start!r} is not in {name}"
        assert left.count("{") - left.count("}") == text.count("{") - text.count("}")
        assert left.count("virtual") == text.count("virtual"), "classes are laid out as before"
        assert text.count("inline ") - left.count("inline ") <= 1, "one function at a time"


def test_conversions_of_strings_are_deleted_or_the_header_is_whole(tmp_path: Path) -> None:
    gcc = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=True).stdout
    sources, header = _sources(tmp_path, "#include <string>\n")
    jittor_lean.prepare(sources, ["g++"], header, tmp_path / "lean")
    cut = tmp_path / "lean/bits/basic_string.h"
    assert cut.exists() or gcc.strip().split(".")[0] != "12", "the header of GCC 12 is known"
    if cut.exists():
        text = cut.read_text()
        assert "int stoi(const string&, size_t* = 0, int = 10) = delete;" in text and "__gnu_cxx::__stoa" not in text

    def said(code: str) -> str:
        source = (
            f"#include <string>\nusing namespace std;\ntemplate <class T> int to_string(T, ...);\nauto a = {code};\n"
        )
        command = ["g++", f"-I{tmp_path / 'lean'}", "-std=c++14", "-fsyntax-only", "-x", "c++", "-"]
        return subprocess.run(command, input=source, capture_output=True, text=True).stderr

    assert said("string(3, 'a') + 'b'") == ""
    for call in ("to_string(1.5)", "to_string(1u)", "to_wstring(1L)", 'stod("1")', 'stoul(L"1")', 'u"a"s', '"a"s'):
        answer = said(call)
        assert "deleted function" in answer if cut.exists() else answer == "", f"{call} must not call something else"


TEXT = "int a() { if (1) { return 2; } }\nint b() {}\n// end\n"


def test_what_is_left() -> None:
    assert Cut("int a()", None, "").apply(TEXT) == "\nint b() {}\n// end\n"
    assert Cut("int a()", "// end", "").apply(TEXT) == "// end\n"
    assert Cut("int b() {}", "", "int c();").apply(TEXT) == TEXT.replace("int b() {}", "int c();")


@pytest.mark.parametrize(
    ("start", "end"),
    [("int d()", None), ("int ", None), ("int a()", "// start"), ("// end", "int a()"), ("// end", None), ("int ", "")],
)
def test_a_text_that_is_not_as_it_is_known(start: str, end: str | None) -> None:
    assert Cut(start, end, "").apply(TEXT) is None


def _sources(folder: Path, header: str) -> tuple[Path, Path]:
    sources = folder / "src"
    (sources / "ops").mkdir(parents=True)
    (sources / "ops/one.h").write_text("#pragma once\n")
    (sources / "types.h").write_text("using A = int;\nfunction_alias(std::to_string, S);\n")
    # One of its two cuts is not in it, as in another Jittor.
    (sources / "node.h").write_text("inline static Node* get_node(int64 id) { return 0; }\n")
    (folder / "kernel.h").write_text(header)
    return sources, folder / "kernel.h"


def test_a_folder_of_links_and_of_what_was_cut(tmp_path: Path) -> None:
    sources, header = _sources(tmp_path, '#include "types.h"\n#include "ops/one.h"\n')
    folder = tmp_path / "lean"
    jittor_lean.prepare(sources, ["g++"], header, folder)
    assert (folder / "types.h").read_text() == "using A = int;\ntemplate <class... All> void S(All&&...) = delete;\n"
    assert (folder / "node.h").is_symlink(), "a header of which one cut is not known is left whole"
    assert (folder / "ops/one.h").resolve() == sources / "ops/one.h"
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    jittor_lean.prepare(sources, ["g++"], header, folder)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before, "a second process takes the first's"
    assert not list(tmp_path.glob("tmp*"))


@pytest.mark.parametrize("why", ["does not compile", "nodes are checked"])
def test_no_folder(why: str, tmp_path: Path) -> None:
    wrong = why == "does not compile"
    sources, header = _sources(tmp_path, '#include "types.h"\n' + ("auto text = S(1);\n" if wrong else ""))
    with pytest.raises(subprocess.CalledProcessError) if wrong else nullcontext():
        jittor_lean.prepare(sources, ["g++", *([] if wrong else ["-DNODE_MEMCHECK"])], header, tmp_path / "lean")
    assert {file.name for file in tmp_path.iterdir()} - {"home"} == {"src", "kernel.h"}
