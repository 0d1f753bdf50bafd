"""Jittor's headers without what kernels do not use: known, harmless, and never a reason not to compile."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from detr_common import jittor_lean
from detr_common.jittor_lean import CUTS, Cut

ROOT = Path(__file__).parents[2]
JITTOR = Path((find_spec("jittor") or pytest.skip("Jittor is not installed", allow_module_level=True)).origin or "")
SOURCES = JITTOR.parent / "src"

# Kernels that call what the lean headers do not have, and one that is wrong by itself.
KERNELS = """
import sys
from detr_common.jittor_ready import ready
ready()
import jittor as jt
from detr_common import jittor_headers
print("used:", jittor_headers.use(jt), "lean:", "/lean" in jt.flags.cc_flags)
def kernel(code):
    return jt.code((1,), "float32", [jt.array([3.0])], cpu_src=code).numpy()[0]
print("number:", kernel("@out(0) = std::stoi(std::to_string(12)) + @in0(0);"))
print("vector:", kernel("vector<int64> v{4, 5}; NanoVector n(v); @out(0) = n.to_vector()[1] * @in0(0);"))
print("name:", kernel('@out(0) = NanoString("float64").dsize();'))
print("node:", kernel("@out(0) = get_node(-1) == nullptr;"))
try:
    kernel("@out(0) = there_is_no_such_function();")
except Exception as err:
    print("wrong:", type(err).__name__)
"""


def test_a_kernel_that_uses_what_was_cut_is_compiled_from_the_whole_headers() -> None:
    if "cc_flags" in os.environ or sys.platform != "linux":
        pytest.skip("headers are not compiled before with other flags or another system")
    run = subprocess.run(
        [sys.executable, "-c", KERNELS],
        env=os.environ | {"HOME": os.environ["REAL_HOME"]},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    said = dict(line.split(": ", 1) for line in run.stdout.splitlines() if ": " in line)
    assert said["used"] == "True lean: True"
    assert [float(said[name]) for name in ("number", "vector", "name", "node")] == [15.0, 15.0, 8.0, 1.0]
    assert said["wrong"] == "RuntimeError"
    assert "there_is_no_such_function" in run.stdout + run.stderr, "what the compiler says is shown"
    assert "std::stoi" not in run.stderr, "and not what it says of the lean headers"


@pytest.mark.parametrize("name", [name for name in CUTS if name != "bits/basic_string.h"])
def test_each_cut_is_known_in_the_installed_headers(name: str) -> None:
    text = (SOURCES / name).read_text()
    for cut in CUTS[name]:
        left = cut.apply(text)
        assert left != text, f"{cut.start!r} is not in {name}"
        assert left.count("{") - left.count("}") == text.count("{") - text.count("}")
        assert left.count("virtual") == text.count("virtual"), "classes are laid out as before"
        assert text.count("inline ") - left.count("inline ") <= 1, "one function at a time"


def test_what_is_left() -> None:
    text = "int a() { if (1) { return 2; } }\nint b() {}\n// end\n"
    assert Cut("int a()").apply(text) == "\nint b() {}\n// end\n"
    assert Cut("int a()", "// end").apply(text) == "// end\n"
    assert Cut("int b() {}", "", "int c();").apply(text) == text.replace("int b() {}", "int c();")


@pytest.mark.parametrize(
    "cut",
    [
        Cut("int d()"),
        Cut("int "),
        Cut("int a()", "// start"),
        Cut("// end", "int a()"),
        Cut("// end"),
        Cut("int ", "", ""),
    ],
)
def test_a_header_that_is_not_as_it_is_known_stays_whole(cut: Cut) -> None:
    text = "int a() { if (1) { return 2; } }\nint b() {}\n// end\n"
    assert cut.apply(text) == text


def test_a_folder_of_links_and_of_what_was_cut(tmp_path: Path) -> None:
    sources = tmp_path / "src"
    (sources / "ops").mkdir(parents=True)
    (sources / "ops/one.h").write_text("#pragma once\n")
    (sources / "types.h").write_text("using A = int;\nfunction_alias(std::to_string, S);\n")
    (sources / "node.h").write_text("another Jittor's\n")
    folder = tmp_path / "lean"
    jittor_lean.prepare(sources, ["g++"], folder)
    assert (folder / "types.h").read_text() == "using A = int;\n\n"
    assert (folder / "node.h").is_symlink() and (folder / "ops/one.h").resolve() == sources / "ops/one.h"
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    jittor_lean.prepare(sources, ["g++"], folder)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before, "a second process takes the first's"
    assert not list(tmp_path.glob("tmp*")), "what it would have made is gone"
