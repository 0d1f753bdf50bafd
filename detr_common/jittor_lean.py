"""Jittor's headers less what makes each of its kernels slow to compile and hardly any kernel uses.

GCC instantiates the templates that are used by any function of a header, at the end of every source and whether or not
the source calls that function: conversions of strings, tables of nodes, what a failed check would print. In the
headers that are prepared here these functions are missing. What a kernel computes with is as it was, and so is how
every class is laid out. A kernel that does call one of them is told so by the compiler, and
:mod:`detr_common.jittor_headers` then has it compiled from the whole headers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

_STRINGS = "bits/basic_string.h"


class Cut(NamedTuple):
    """What a header loses.

    Attributes:
        start: the text that it starts with. A header that does not have it once stays as it is.
        end: the text before which it ends; empty: with its start; none: with the brace that closes its first one.
        left: what is put in its place.
    """

    start: str
    end: str | None = None
    left: str = ""

    def apply(self, text: str) -> str:
        """Return the text without it."""
        if text.count(self.start) != 1 or (self.end and text.count(self.end) != 1):
            return text
        begin = text.index(self.start)
        if self.end is None:
            end = _closing(text, begin)
        else:
            end = text.index(self.end) if self.end else begin + len(self.start)
        return text[:begin] + self.left + text[end:] if end > begin else text


def _closing(text: str, begin: int) -> int:
    """Return where the first pair of braces from there on ends, or -1."""
    depth = 0
    for place in range(text.find("{", begin), len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    return -1


# Never a virtual function, nor one without which another would be called instead of an error: a constructor is cut
# only where the one that would be taken for it cannot be instantiated with the same arguments.
CUTS: dict[str, tuple[Cut, ...]] = {
    _STRINGS: (
        Cut(
            "#if _GLIBCXX_USE_C99_STDLIB\n  // 21.4 Numeric Conversions",
            "_GLIBCXX_END_NAMESPACE_CXX11\n_GLIBCXX_END_NAMESPACE_VERSION\n} // namespace\n\n#endif /* C++11 */",
        ),
        Cut(
            "#if __cplusplus >= 201402L\n\n#define __cpp_lib_string_udls", "", "#if 0\n\n#define __cpp_lib_string_udls"
        ),
    ),
    "types.h": (Cut("function_alias(std::to_string, S);", ""),),
    "node.h": (
        Cut("inline static Node* get_node(int64 id)"),
        # A node always exists unless Jittor itself is debugged.
        Cut('ASSERT(node->exist()) << "Node("#node")" << (void*)node << "not exist."', "", "(void)0"),
    ),
    "misc/nano_string.h": (Cut("inline NanoString(const char* s)"), Cut("inline NanoString(const string& s)")),
    "misc/nano_vector.h": (
        Cut("inline string to_string()"),
        Cut("inline vector<int64> to_vector() const"),
        Cut("inline NanoVector(const vector<int64>& v)"),
        Cut("inline NanoVector(const vector<int64_t>& v)"),
    ),
}


def prepare(sources: Path, command: list[str], folder: Path) -> None:
    """Make a folder whose headers stand before those of Jittor and of the compiler.

    Those that lose nothing are links. A header that is not as it is known here is taken whole.

    Args:
        sources: the folder of Jittor's headers.
        command: the compiler and its options.
        folder: what is made, whole or not at all; it may be there already.

    Raises:
        OSError: it cannot be written, or the compiler cannot be started.
        UnicodeDecodeError: a header is not UTF-8.
        subprocess.CalledProcessError: the compiler does not find its own headers.
    """
    found = {file.relative_to(sources).as_posix(): file for file in sources.rglob("*.h")}
    if strings := _strings(command):
        found[_STRINGS] = strings
    changed = {name: text for name, file in found.items() if (text := _cut(name, file)) is not None}
    scratch = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for name, file in found.items():
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in changed:
                target.write_text(changed[name], encoding="utf8")
            elif name != _STRINGS:
                target.symlink_to(file)
        scratch.chmod(0o755)
        try:
            os.rename(scratch, folder)
        except OSError:
            if not folder.is_dir():  # which another process has made meanwhile
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _cut(name: str, file: Path) -> str | None:
    """Return the text that is left of a header, or nothing if it is left whole."""
    if name not in CUTS:
        return None
    whole = text = file.read_text(encoding="utf8")
    for cut in CUTS[name]:
        text = cut.apply(text)
    return None if text == whole else text


def _strings(command: list[str]) -> Path | None:
    """Return the compiler's own header of strings."""
    source = f"#include <{_STRINGS}>\n"
    run = subprocess.run([*command, "-M", "-x", "c++", "-"], input=source, capture_output=True, text=True, check=True)
    places = [Path(word) for word in run.stdout.split() if word.endswith(f"/{_STRINGS}")]
    return places[0] if places else None
