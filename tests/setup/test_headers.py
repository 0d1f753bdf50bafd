"""Kernels from headers that were compiled before: the same bits, and never a reason not to work."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from detr_common import jittor_headers

# A kernel that nothing else here has: five dimensions, float64, three functions and a sum over two of them.
KERNEL = """
import hashlib, json, sys
from detr_common.jittor_ready import ready
ready()
import jittor as jt, numpy as np
from detr_common import jittor_headers
used = jittor_headers.use(jt) if {use} else None
jt.flags.auto_convert_64_to_32 = 0
values = jt.array(np.linspace(-3.0, 3.0, 4320).reshape(4, 5, 6, 4, 9))
found = (jt.tanh(values) * jt.exp(values) - jt.sigmoid(values)).sum((1, 4)).numpy()
print(json.dumps(dict(used=used, dtype=str(found.dtype), sha=hashlib.sha256(found.tobytes()).hexdigest(),
                      flags=jt.flags.cc_flags, python=jt.flags.python_path)))
"""


def _kernel(use: bool) -> dict[str, object]:
    run = subprocess.run(
        [sys.executable, "-c", KERNEL.format(use=use)],
        env=os.environ | {"HOME": os.environ["REAL_HOME"], "nvcc_path": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    said: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
    return said


def test_kernels_are_the_same_to_the_last_bit() -> None:
    plain, quick = _kernel(use=False), _kernel(use=True)
    assert plain["used"] is None and "kernel.h" not in str(plain["flags"])
    if "cc_flags" not in os.environ and sys.platform == "linux":
        assert quick["used"] is True and "kernel.h" in str(quick["flags"])
        assert ("-fuse-ld=gold" in str(quick["flags"])) is (shutil.which("ld.gold") is not None)
    assert plain["dtype"] == quick["dtype"] == "float64"
    assert plain["sha"] == quick["sha"]


def _jittor(folder: Path, compiler: str = "g++", **more: object) -> SimpleNamespace:
    flags = SimpleNamespace(
        cc_path=compiler,
        cc_flags=f' -I"{folder / "src"}" -lnothing ',
        python_path=sys.executable,
        cache_path=str(folder),
        jittor_path=str(folder),
    )
    return SimpleNamespace(flags=flags, compiler=SimpleNamespace(cc_type="g++"), **({"has_cuda": 0} | more))


@pytest.fixture
def headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Headers of these names that compile in no time, below a path with a space."""
    monkeypatch.delenv("cc_flags", raising=False)
    folder = tmp_path / "a cache"
    for name in ("var.h", "ops/op_register.h", "fused_op.h", "misc/cuda_flags.h"):
        (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "src" / name).write_text("#pragma once\n")
    return folder


def test_prepared_once_and_taken_by_the_compiler(headers: Path) -> None:
    first, second = _jittor(headers), _jittor(headers)
    assert jittor_headers.use(first) and jittor_headers.use(first), "a second call changes nothing"
    compiled = list(headers.rglob("*.gch"))
    assert len(compiled) == 1
    made = compiled[0].stat().st_mtime_ns
    assert jittor_headers.use(second) and second.flags.cc_flags == first.flags.cc_flags
    assert compiled[0].stat().st_mtime_ns == made, "compiled again"
    source = headers / "kernel.cc"
    source.write_text("int one() { return 1; }\n")
    command = f'g++ {first.flags.cc_flags} -Winvalid-pch -Werror -H -c "{source}" -o "{headers / "kernel.o"}"'
    run = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "! " in run.stderr and str(compiled[0]) in run.stderr, f"the compiled header was not used:\n{run.stderr}"


def _with_linker(headers: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, links: bool = True) -> list[str]:
    """Return the flags of a compiler with a quick linker that is or is not installed, and does or does not link."""
    compiler = headers / "compiler"
    gold = "shift 2" if links else "exit 1"  # of the options that come first
    compiler.write_text(f'#!/bin/sh\ncase "$*" in *-fuse-ld=gold*) {gold};; esac\nexec g++ "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setattr(jittor_headers.shutil, "which", {"ld.gold": "gold" if installed else None}.get)
    jittor = _jittor(headers, str(compiler))
    assert jittor_headers.use(jittor) and "kernel.h" in jittor.flags.cc_flags
    return str(jittor.flags.cc_flags).split()


@pytest.mark.parametrize(("installed", "links"), [(True, True), (False, True), (True, False)])
def test_the_quick_linker_is_taken_where_it_works(
    headers: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, links: bool
) -> None:
    flags = _with_linker(headers, monkeypatch, installed, links)
    assert ("-fuse-ld=gold" in flags) is (installed and links)


def test_a_linker_that_comes_or_goes_after_the_headers_were_made(
    headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [_with_linker(headers, monkeypatch, installed) for installed in (False, True, False)]
    assert ["-fuse-ld=gold" in one for one in flags] == [False, True, False]
    assert len(list(headers.rglob("*.gch"))) == 1


def test_a_marked_source_still_goes_through_the_script(headers: Path, tmp_path: Path) -> None:
    jittor = _jittor(headers)
    assert jittor_headers.use(jittor)
    script = tmp_path / "asm_tuner.py"
    script.write_text("import sys\nprint('the script ran', sys.argv[1:])")
    marked, plain = tmp_path / "marked.cc", tmp_path / "plain.cc"
    marked.write_text("// @begin\n")
    plain.write_text("int one() { return 1; }\n")

    def run(source: Path) -> str:
        command = [jittor.flags.python_path, script, "--cc_path=echo", source, "-c"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout

    assert run(marked) == f"the script ran ['--cc_path=echo', '{marked}', '-c']\n"
    assert run(plain) == f"{plain} -c\n", "what the compiler says is passed on"
    other = subprocess.run([jittor.flags.python_path, "-c", "print(1 + 1)"], capture_output=True, text=True, check=True)
    assert other.stdout == "2\n", "whatever else Jittor runs by this path"


@pytest.mark.parametrize("mark", ["", "// @begin\n"])
def test_without_the_lean_headers_where_it_must_be(mark: str, headers: Path, tmp_path: Path) -> None:
    jittor = _jittor(headers)
    assert jittor_headers.use(jittor)
    lean, header = (next(headers.rglob(name)) for name in ("lean", "kernel.h"))
    assert shlex.split(jittor.flags.cc_flags)[0] == f"-I{lean}"
    source, script, compiler = tmp_path / "it's.cc", tmp_path / "asm_tuner.py", tmp_path / "compiler"
    source.write_text(mark)
    script.write_text("import subprocess, sys\nsys.exit(subprocess.call([sys.argv[1].split('=')[1], *sys.argv[2:]]))")
    compiler.write_text(
        '#!/bin/sh\nfor word; do case "$word" in -I*/lean) echo lean; exit 1;; esac; done\n'
        'for word; do echo "$word"; done\nexit 3\n'
    )
    compiler.chmod(0o755)
    words = [f"--cc_path={compiler}", source, f"-I{lean}", "-DA=a  b", f"--include={header}", "-o", "it's.so"]
    run = subprocess.run([jittor.flags.python_path, script, *words], capture_output=True, text=True)
    assert run.stdout.splitlines() == [str(source), "-DA=a  b", "-o", "it's.so"]
    assert run.returncode == 3


def test_another_jittor_in_the_same_cache(headers: Path) -> None:
    flags = []
    for text in ("#pragma once\n", "#pragma once\n// mended\n"):
        (headers / "src/var.h").write_text(text)
        jittor = _jittor(headers)
        assert jittor_headers.use(jittor)
        flags.append(jittor.flags.cc_flags)
    assert flags[0] != flags[1]


@pytest.mark.parametrize("why", ["compiler missing", "compiler fails", "cc_flags set", "CUDA", "clang", "no space"])
def test_left_as_it_was_where_it_cannot_be_done(why: str, headers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jittor = _jittor(headers)
    if why == "compiler missing":
        jittor.flags.cc_path = str(headers / "nowhere")
    elif why == "compiler fails":
        (headers / "src/var.h").write_text("#error broken\n")
    elif why == "cc_flags set":
        monkeypatch.setenv("cc_flags", "-O1")
    elif why == "CUDA":
        jittor.has_cuda = 1
    elif why == "clang":
        jittor.compiler.cc_type = "clang"
    else:
        (headers / "headers").write_text("a file where a folder is needed")
    before = dict(vars(jittor.flags))
    assert not jittor_headers.use(jittor)
    assert vars(jittor.flags) == before
    assert not list(headers.rglob("*.gch*")) and not list(headers.rglob("*.part"))
