"""How the C library gives memory back."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let this process use freed memory again instead of giving it back to the system after every large array.

    A training frees and wants the same arrays in every step. glibc asks the system for each of more than 32 MiB, which
    then clears it page by page: with images of 512 pixels 120,000 pages a step, an eighth of its time.

    Returns:
        Whether the C library can; others than glibc are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))


def give_freed_memory_back() -> bool:
    """Give all memory that this process has freed back to the system.

    Returns:
        Whether the C library can; others than glibc are left as they are.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return bool(trim and trim(0))
