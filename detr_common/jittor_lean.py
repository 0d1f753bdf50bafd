"""Jittor's headers less what makes each of its kernels slow to compile and hardly any kernel uses.

GCC instantiates the templates that are used by any function of a header, at the end of every source and whether or not
the source calls that function: conversions of strings, tables of nodes, what a failed check would print. In the
headers that are prepared here such functions are declared and deleted. What a kernel computes with is as it was, and
so is how every class is laid out. A kernel that does call one of them is told so by the compiler, and
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
# How Jittor is told to look for nodes that exist no longer, by a check that is cut.
_CHECKED = "NODE_MEMCHECK"


class Cut(NamedTuple):
    """What a header loses.

    Attributes:
        start: the text that it starts with.
        end: the text before which it ends; empty: with its start; none: with the brace that closes its first one.
        left: what is put in its place.
    """

    start: str
    end: str | None
    left: str

    def apply(self, text: str) -> str | None:
        """Return the text without it, or nothing where the text does not have its start and its end exactly once."""
        if text.count(self.start) != 1 or (self.end and text.count(self.end) != 1):
            return None
        begin = text.index(self.start)
        if self.end is None:
            end = _closing(text, begin)
        else:
            end = text.index(self.end) if self.end else begin + len(self.start)
        return text[:begin] + self.left + text[end:] if end > begin else None


def _closing(text: str, begin: int) -> int:
    """Return where the first pair of braces from there on ends, or -1."""
    depth = 0
    for place in range(text.find("{", begin), len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    return -1


def _function(head: str) -> Cut:
    # Deleted and not only gone: it is still the one that a call means, which is then an error and never another's call.
    return Cut(head, None, f"{head} = delete;")


def _conversions() -> str:
    """Declare the functions of C++ between numbers and strings as deleted."""
    integers = {"i": "int", "l": "long", "ul": "unsigned long", "ll": "long long", "ull": "unsigned long long"}
    floats = {"f": "float", "d": "double", "ld": "long double"}
    lines = []
    for text, to_text in (("string", "to_string"), ("wstring", "to_wstring")):
        lines += [f"{kind} sto{end}(const {text}&, size_t* = 0, int = 10) = delete;" for end, kind in integers.items()]
        lines += [f"{kind} sto{end}(const {text}&, size_t* = 0) = delete;" for end, kind in floats.items()]
        lines += [f"{text} {to_text}({kind}) = delete;" for kind in ["unsigned", *integers.values(), *floats.values()]]
    return "\n".join(lines) + "\n"


_LITERALS = "".join(
    f'basic_string<{kind}> operator""s(const {kind}*, size_t) = delete;\n'
    for kind in ("char", "wchar_t", "char16_t", "char32_t")
)
# Never a virtual function.
CUTS: dict[str, tuple[Cut, ...]] = {
    _STRINGS: (
        Cut(
            "#if _GLIBCXX_USE_C99_STDLIB\n  // 21.4 Numeric Conversions",
            "_GLIBCXX_END_NAMESPACE_CXX11\n_GLIBCXX_END_NAMESPACE_VERSION\n} // namespace\n\n#endif /* C++11 */",
            _conversions(),
        ),
        Cut(
            "    _GLIBCXX_DEFAULT_ABI_TAG _GLIBCXX_STRING_CONSTEXPR\n    inline basic_string<char>\n",
            "#undef _GLIBCXX_STRING_CONSTEXPR",
            _LITERALS,
        ),
    ),
    "types.h": (Cut("function_alias(std::to_string, S);", "", "template <class... All> void S(All&&...) = delete;"),),
    "node.h": (
        _function("inline static Node* get_node(int64 id)"),
        Cut('ASSERT(node->exist()) << "Node("#node")" << (void*)node << "not exist."', "", "(void)0"),
    ),
    "misc/nano_string.h": (
        _function("inline NanoString(const char* s)"),
        _function("inline NanoString(const string& s)"),
    ),
    "misc/nano_vector.h": (
        _function("inline string to_string()"),
        _function("inline vector<int64> to_vector() const"),
        _function("inline NanoVector(const vector<int64>& v)"),
        _function("inline NanoVector(const vector<int64_t>& v)"),
    ),
}


def prepare(sources: Path, command: list[str], header: Path, folder: Path) -> None:
    """Make a folder whose headers stand before those of Jittor and of the compiler, if what is left of them compiles.

    Those that lose nothing are links. A header that is not as it is known here loses nothing.

    Args:
        sources: the folder of Jittor's headers.
        command: the compiler and its options.
        header: a header that includes what has to compile.
        folder: what is made, whole or not at all; it may be there already.

    Raises:
        OSError: it cannot be written, or the compiler cannot be started.
        UnicodeDecodeError: a header is not UTF-8.
        subprocess.CalledProcessError: what is left does not compile.
    """
    if folder.is_dir() or any(_CHECKED in word for word in command):
        return
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
        check = [command[0], f"-I{scratch}", *command[1:], "-fsyntax-only", "-x", "c++", str(header)]
        subprocess.run(check, check=True, capture_output=True, stdin=subprocess.DEVNULL)
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
    text: str | None = file.read_text(encoding="utf8")
    for cut in CUTS[name]:
        if text is not None:
            text = cut.apply(text)
    return text


def _strings(command: list[str]) -> Path | None:
    """Return the compiler's own header of strings."""
    source = f"#include <{_STRINGS}>\n"
    run = subprocess.run([*command, "-M", "-x", "c++", "-"], input=source, capture_output=True, text=True, check=True)
    places = [Path(word) for word in run.stdout.split() if word.endswith(f"/{_STRINGS}")]
    return next((place for place in places if place.is_file()), None)
