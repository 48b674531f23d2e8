"""How a process's allocator treats memory that was freed."""

from __future__ import annotations

import ctypes

# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 128 << 20
_LARGEST_BYTES = 32 << 20
"""The most that glibc takes for M_MMAP_THRESHOLD."""


def keep_freed_memory() -> bool:
    """Let the process use freed memory again instead of giving it back at once; whether its C library can be told to.

    Dask starts workers with MALLOC_TRIM_THRESHOLD_=65536, by which glibc also maps each array of 128 KiB or more anew.
    The system then clears every page of it again: half of the time of scoring went into that.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # neither musl nor macOS has it
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
