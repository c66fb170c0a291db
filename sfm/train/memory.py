"""Keeping freed memory in the process, which makes CPU training with glibc faster.

glibc returns each large block to the kernel when it is freed, and the kernel clears it page by page
when the next step asks for it again. Two `mallopt` settings stop that.
"""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed blocks for reuse; False where there is no glibc.

    Acts on the whole process, so only commands that own it (training) call this.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, 2**30) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
