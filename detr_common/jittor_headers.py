"""Jittor's kernels compiled in less than half the time: from headers that were compiled before, without a detour.

Each kernel is a small source that includes the same large headers, which is what compiling it mostly consists of; what
kernels do not use of them is left out (:mod:`detr_common.jittor_lean`). And Jittor has each compiled to assembler by a
Python script of its own, which changes marked places and leaves all other kernels as they are. What is left is linked
by gold, where it is installed. All is measured in docs/measured.md. What kernels compute is the same to the last bit.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from detr_common import jittor_lean

_HEADERS = (
    '"var.h"', '"ops/op_register.h"', '"fused_op.h"', '"misc/cuda_flags.h"', "<cmath>", "<algorithm>", "<assert.h>",
)  # fmt: skip
# What the sources of all kernels for the CPU define; a compiled header serves only where the same is defined.
_DEFINES = ("-DJIT=1", "-DJIT_cpu=1")
# GNU's usual linker takes over twice as long for a kernel; the plugin is for code that is optimised when it is linked.
_LINKER = ("-fuse-ld=gold", "-fno-use-linker-plugin")
# The mark of a place that the script would change.
_MARK = "@begin"
_SHORTCUT = """#!/bin/sh
case "$1" in
*/asm_tuner.py)
    compiler=${{2#--cc_path=}}
    if grep -q '{mark}' "$3"; then marked=1; else marked=; fi
    if [ -z "$marked" ] && said=$(shift 2; "$compiler" "$@" 2>&1); then
        [ -z "$said" ] || printf '%s\\n' "$said" >&2
        exit 0
    fi
    for word in "$@"; do
        shift
        case "$word" in
        {lean} | {header}) ;;
        *) set -- "$@" "$word" ;;
        esac
    done
    if [ -z "$marked" ]; then
        shift 2
        exec "$compiler" "$@"
    fi
    ;;
esac
exec {python} "$@"
"""


def use(jittor: Any) -> bool:
    """Let this process compile kernels so; nothing is changed where that cannot be prepared.

    Call it before the first kernel is compiled. The first call for a kernel cache takes some seconds.

    Args:
        jittor: the module.

    Returns:
        Whether it was done: not with another compiler than g++ on Linux, nor with CUDA, nor where the user has set
        ``cc_flags``.
    """
    flags = jittor.flags
    if "cc_flags" in os.environ or sys.platform != "linux" or jittor.compiler.cc_type != "g++" or jittor.has_cuda:
        return False
    if _DEFINES[0] in flags.cc_flags:
        return True
    try:
        folder = Path(flags.cache_path) / "headers" / _version(flags)
        lean, header, shortcut = folder / "lean", folder / "kernel.h", folder / "python"
        if not shortcut.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(header, "".join(f"#include {name}\n" for name in _HEADERS))
            _prepare(flags, lean, header)
            places = {"lean": f"-I{lean}", "header": f"--include={header}", "python": flags.python_path}
            quoted = {name: shlex.quote(place) for name, place in places.items()}
            write_whole(shortcut, _SHORTCUT.format(mark=_MARK, **quoted), 0o755)
        linking = " ".join(_linker(flags.cc_path, folder))
    except (OSError, subprocess.SubprocessError):
        return False
    before = f'-I"{lean}"' if lean.is_dir() else ""
    flags.cc_flags = f' {before} {" ".join(_DEFINES)} --include="{header}" {linking} {flags.cc_flags}'
    flags.python_path = str(shortcut)
    return True


def _version(flags: Any) -> str:
    """Return a name for all that the compiled header and the script are made from.

    Neither Jittor nor GCC does so: an environment may get another Jittor whose kernels lie in the same cache.
    """
    made_from = hashlib.sha256()
    for header in sorted(Path(flags.jittor_path, "src").rglob("*.h")):
        made_from.update(header.read_bytes())
    compiler = Path(shutil.which(flags.cc_path) or flags.cc_path)
    size = compiler.stat().st_size if compiler.exists() else 0
    known = (flags.cc_path, size, flags.cc_flags, flags.python_path, _HEADERS, _DEFINES, _SHORTCUT, jittor_lean.CUTS)
    made_from.update(repr(known).encode())
    return made_from.hexdigest()[:12]


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file that other processes see whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.chmod(file.name, mode)
    os.replace(file.name, path)


def _prepare(flags: Any, lean: Path, header: Path) -> None:
    """Compile the header, with less of Jittor's headers where that can be done."""
    words = [word for word in shlex.split(flags.cc_flags) if not word.startswith(("-l", "-L", "-Wl", "-shared"))]
    command = [flags.cc_path, *_DEFINES, *words]
    with suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
        jittor_lean.prepare(Path(flags.jittor_path) / "src", command, header, lean)
    before = [f"-I{lean}"] if lean.is_dir() else []
    _compile([*command[:1], *before, *command[1:]], header)


def _compile(command: list[str], header: Path) -> None:
    part = header.with_name(f"{header.name}.{os.getpid()}.part")
    try:
        subprocess.run(
            [*command, "-x", "c++-header", str(header), "-o", str(part)],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        os.replace(part, header.with_name(f"{header.name}.gch"))
    finally:
        part.unlink(missing_ok=True)


def _linker(compiler: str, folder: Path) -> tuple[str, ...]:
    """Return the options of the quick linker, or none where it is not installed or cannot be used.

    Whether it is installed is looked up each time, since a cache can be shared with a machine that has none.
    """
    if shutil.which("ld.gold") is None:
        return ()
    tried = folder / "linker"
    if not tried.exists():
        write_whole(tried, " ".join(_LINKER) if _links(compiler, folder) else "")
    return tuple(tried.read_text().split())


def _links(compiler: str, folder: Path) -> bool:
    """Tell whether a library can be linked by the quick linker."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        source = Path(scratch, "one.cc")
        source.write_text("int one() { return 1; }\n")
        command = [compiler, *_LINKER, "-fPIC", "-shared", str(source), "-o", str(source.with_suffix(".so"))]
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
