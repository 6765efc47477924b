"""How the C library's allocator treats memory that requests have freed."""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1  # malloc.h
_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 16 << 20
_LARGE_BYTES: Final = 4 << 20


def keep_freed_memory() -> None:
    """Let each thread keep up to 16 MB of freed memory for its next request.

    A predict request of 32 digits needs some 3 MB for a moment. By default glibc gives them back to the system after
    every request and gets them again at the next one: 400 page faults, a third of such a request's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
