"""How the C library gives memory back, and what Python looks through for garbage."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Numbers by which mallopt knows its options, and what glibc has them at, or comes to where large arrays are freed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}


def keep_freed_memory() -> bool:
    """Let this process use freed memory again instead of giving it back to the system after every large array.

    A training frees and wants the same arrays in every step. glibc asks the system for each of more than 32 MiB, which
    then clears it page by page: with images of 512 pixels 120,000 pages a step, an eighth of its time.

    Returns:
        Whether the C library can; others than glibc are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))


def keep_no_freed_memory() -> bool:
    """Undo ``keep_freed_memory``, and give all memory that this process has freed back to the system.

    Returns:
        Whether the C library can; others than glibc are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    undone = mallopt and all([mallopt(option, value) for option, value in _USUAL.items()])
    return give_freed_memory_back() and bool(undone)


def give_freed_memory_back() -> bool:
    """Give all memory that this process has freed back to the system.

    Returns:
        Whether the C library can; others than glibc are left as they are.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return bool(trim and trim(0))


def keep_imported() -> None:
    """Never look for garbage among what this process has now; call it once all is imported.

    PyTorch is 180,000 objects, which Python would look through now and then and twice at the end: 0.5 s of the 2 s of
    a process that imports it and does nothing. A fork that does so would copy the pages that hold them. Not in a
    process of tests: Hypothesis takes what is left out for something that nobody refers to.
    """
    gc.freeze()


@contextmanager
def importing() -> Iterator[None]:
    """Import modules in this block: as ``keep_imported``, and no garbage is looked for meanwhile."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        keep_imported()
        if enabled:
            gc.enable()
