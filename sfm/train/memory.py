"""Memory of the process: its peak, and keeping what is freed, which makes CPU training faster.

glibc returns each large block to the kernel when it is freed, and the kernel clears it page by page
when the next step asks for it again. Two `mallopt` settings stop that.
"""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed blocks for reuse; False where there is no glibc.

    Acts on the whole process, so only commands that own it (training) call this.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, 2**30) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def peak_memory() -> int:
    """The most that this process has held in memory so far, in bytes.

    Linux's own counter for it, where there is one: `getrusage` begins with the peak of the process
    that started this one, so that a small child of a large program seems large.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
