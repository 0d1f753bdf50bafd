"""Giving Jittor the oneDNN of the Python wheels, so that it need not download its own.

Jittor fetches oneDNN 2.2 from its own server when it is first imported, and the import fails where that server cannot
be reached. It looks for one file, ``mkl/dnnl_lnx_2.2.0_cpu_gomp/lib/libmkldnn.so`` in its cache, before it fetches;
links to the library and headers that ``pip install onednn-cpu-gomp onednn-devel-cpu-gomp`` brought satisfy it.
"""

from __future__ import annotations

import os
import platform
import re
import site
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from detr_common.jittor_cache import elf_damage

WHEELS_COMMAND = "pip install onednn-cpu-gomp==2022.2.1 onednn-devel-cpu-gomp==2022.2.1"

State = Literal["user", "present", "to link", "linked", "missing", "elsewhere"]


@dataclass(frozen=True)
class OneDnn:
    """What Jittor will use for matrix products and convolutions on the CPU.

    Attributes:
        state: "user" (the user's own variables decide), "present" (usable already), "to link" (the wheels are there,
            the links are not yet), "linked" (done now), "missing" (Jittor's slow loops), "elsewhere" (a system on
            which Jittor is left to find its own).
        reason: why, in words.
        links: pairs (link, what it points to), in the order in which they must be made.
    """

    state: State
    reason: str
    links: tuple[tuple[Path, Path], ...] = ()


def _prefixes() -> list[Path]:
    candidates = [sys.prefix, site.getuserbase(), "/usr/local", sys.base_prefix, os.environ.get("CONDA_PREFIX", "")]
    return [Path(prefix) for prefix in dict.fromkeys(candidates) if prefix]


def _fault(library: Path, header: Path, version: Path) -> str | None:
    if not library.is_file():
        return f"{library} is missing"
    if not header.is_file():
        return f"{header} is missing (its wheel is onednn-devel-cpu-gomp)"
    try:
        damage = elf_damage(library)
        match = re.search(r"DNNL_VERSION_MAJOR +(\d+)", version.read_text(encoding="utf8", errors="replace"))
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"
    if damage:
        return f"{library} {damage}"
    if match is None or match.group(1) != "2":
        return f"{version.parent} is oneDNN {match.group(1) if match else 'of no known version'}; Jittor needs 2"
    return None


def _fault_of(include: Path, library: Path) -> str | None:
    return _fault(library, include / "dnnl.hpp", include / "oneapi" / "dnnl" / "dnnl_version.h")


def find_wheels(prefixes: list[Path] | None = None) -> tuple[Path, str]:
    """Find the installation prefix of the oneDNN wheels.

    Args:
        prefixes: where to look; the running environment's own places by default.

    Returns:
        The first prefix with library and headers of oneDNN 2 and an empty string; or an empty path and why each was
        refused.
    """
    faults = []
    for prefix in _prefixes() if prefixes is None else prefixes:
        fault = _fault_of(prefix / "include", prefix / "lib" / "libdnnl.so")
        if fault is None:
            return prefix, ""
        faults.append(fault)
    # The rest say the same of places where nobody meant to install it.
    return Path(), faults[0] if faults else "no place to look"


def plan(root: Path, prefixes: list[Path] | None = None) -> OneDnn:
    """Decide what Jittor shall use, without changing anything.

    Args:
        root: Jittor's directory, ``.cache/jittor`` of its home.
        prefixes: where to look for the wheels; the running environment's own places by default.
    """
    if "use_mkl" in os.environ:
        return OneDnn("user", f"use_mkl={os.environ['use_mkl']} was set by you")
    if sys.platform != "linux":
        return OneDnn("elsewhere", f"Jittor fetches its own oneDNN on {sys.platform}")
    suffix = "" if platform.machine() == "x86_64" else f"_{platform.machine()}"
    home = root / "mkl" / f"dnnl_lnx_2.2.0_cpu_gomp{suffix}"
    library = home / "lib" / "libmkldnn.so"
    if library.is_file() and (home / "include" / "dnnl.hpp").is_file():
        linked = f", linked to {os.path.realpath(library)}" if library.is_symlink() else ""
        damage = elf_damage(library)
        if damage is None:
            return OneDnn("present", f"{library}{linked}")
    prefix, fault = find_wheels(prefixes)
    if fault:
        return OneDnn("missing", f"{fault}; convolutions will be slow. Mend: {WHEELS_COMMAND}")
    wheel = prefix / "lib" / "libdnnl.so"
    links = (
        (home / "include", prefix / "include"),
        (home / "lib" / _needed_name(wheel), wheel),
        (library, wheel),  # last: Jittor takes this one's presence for "complete"
    )
    return OneDnn("to link", f"the wheels in {prefix}", links)


def _needed_name(wheel: Path) -> str:
    """Return the name by which a program linked to this library asks for it: the major version's."""
    versioned = wheel.with_name("libdnnl.so.2")
    return versioned.name if versioned.exists() else wheel.name


def apply(decision: OneDnn) -> OneDnn:
    """Make the links that were decided on; safe beside other processes that do the same.

    Returns:
        The decision with state "linked"; or "missing", with the reason, where a link cannot be made.
    """
    if decision.state != "to link":
        return decision
    try:
        for link, target in decision.links:
            link.parent.mkdir(parents=True, exist_ok=True)
            _replace_by_link(link, target)
    except OSError as error:
        return OneDnn(
            "missing", f"{error.filename}: no link could be made ({error.strerror}); convolutions will be slow"
        )
    return OneDnn("linked", decision.reason, decision.links)


def _replace_by_link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}.{os.urandom(4).hex()}")
    temporary.symlink_to(target)
    try:
        if link.is_dir() and not link.is_symlink():
            # An unpacking that was broken off left a real directory, which a rename cannot replace.
            link.rename(link.with_name(f"{link.name}.incomplete-{os.getpid()}-{os.urandom(4).hex()}"))
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
