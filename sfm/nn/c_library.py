"""C source compiled at first use and kept in the cache: work that is too small for torch's calls.

The compiler is the one of the environment variable CC, or `cc`. The library lies in the cache under
a name of source, compiler, flags and processor. Nothing is compiled that was not asked for.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import torch

from sfm.data.atomic import atomic
from sfm.data.storage import cache_dir
from sfm.errors import InputError

REALS = {torch.float32: "float", torch.float64: "double"}
FLAGS = ("-std=gnu99", "-O3", "-fPIC", "-shared")


def c_library(
    stem: str,
    source: str,
    signatures: Mapping[str, str],
    dtype: torch.dtype,
    *,
    flags: tuple[str, ...] = (),
    option: str = "compiled",
) -> ctypes.CDLL:
    """The functions of `source`, where REAL stands for the numbers of `dtype`; they return nothing.

    Args:
        stem: of the file's name.
        source: in C.
        signatures: function -> its arguments, `p` for a pointer, `s` for a `long long`, `r` for a
            double; blanks count nothing.
        dtype: float32 or float64.
        flags: of the compiler, besides those that are always there.
        option: what the user said to get here, for messages.

    Raises:
        InputError: another precision, no C compiler, or one that fails.
    """
    if dtype not in REALS:
        raise InputError(f"{option} runs in float32 and float64, not in {dtype}")
    compiler = c_compiler()
    if compiler is None:
        raise InputError(f"{option} needs a C compiler: set CC to one, or leave it out")
    every = [*FLAGS, *flags, f"-DREAL={REALS[dtype]}"]
    processor = _processor()
    if processor:
        every.append("-march=native")
    text = "\0".join((source, compiler, *every, processor, platform.platform()))
    name = hashlib.sha256(text.encode()).hexdigest()[:24]
    path = cache_dir() / "kernels" / f"{stem}-{name}.so"
    if not path.is_file():
        _compile([compiler, *every], source, path, option)
    library = ctypes.CDLL(str(path))
    kinds = {"p": ctypes.c_void_p, "s": ctypes.c_longlong, "r": ctypes.c_double}
    for function, letters in signatures.items():
        call = getattr(library, function)
        call.argtypes = [kinds[x] for x in letters if x != " "]
        call.restype = None
    return library


def c_compiler() -> str | None:
    """The C compiler of this machine, by CC or `cc` or `gcc`; None if there is none."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    return compiler if compiler and shutil.which(compiler) else None


def _processor() -> str:
    """What tells this processor's instructions from another's; empty where that is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _compile(command: list[str], source: str, path: Path, option: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as scratch:
        words = [*command, "-x", "c", "-", "-o", str(scratch), "-lm"]
        done = subprocess.run(words, input=source, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise InputError(f"{option}: {command[0]} failed: {reason}")
