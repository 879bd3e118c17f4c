"""Memory that is freed stays with the process, so that the next forward need not ask the system for it again.

PyTorch's CPU tensors come from the C library. By default glibc takes blocks of 32 MiB and more from the system each
time and gives them back when they are freed, and the first touch of fresh memory is dear: a page fault and 4 KiB of
zeros for every page. `docs/benchmarks.md` has the selective scan both ways.
"""

import ctypes
import os
import sys

# Numbers of mallopt(3). Blocks above the threshold still come from the system and go back to it at once.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
LARGEST_KEPT_BLOCK, KEPT_AT_MOST = 1 << 30, (1 << 31) - 1  # bytes


def keep_freed_memory() -> bool:
    """Lets this process keep what it freed; True where that was done.

    Free memory beyond 2 GiB at the end of the heap goes back to the system, and so does any block of 1 GiB or more.
    What lies before something that is still in use stays with the process, which can use it again.
    It is left alone where the user chose settings by environment variables (`MALLOC_TRIM_THRESHOLD_`,
    `MALLOC_MMAP_THRESHOLD_`, `GLIBC_TUNABLES`), and where the C library is not glibc.
    """
    chosen = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES"}
    if not sys.platform.startswith("linux") or chosen & os.environ.keys():
        return False
    library = ctypes.CDLL(None)
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    kept = library.mallopt(_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK) and library.mallopt(_TRIM_THRESHOLD, KEPT_AT_MOST)
    return bool(kept)
