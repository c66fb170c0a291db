"""The pointwise work between the transforms of a two-dimensional step, in C, compiled at first use.

On small grids a step's time goes into calls, not into work: each kernel here is one call in the
place of three to six. The C compiler is the one of the environment variable CC, or `cc`; what it
makes is kept in the cache, under a name of the source, the compiler and the processor. Nothing is
compiled that was not asked for (`kernel="compiled"`).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import torch

from sfm.data.atomic import atomic
from sfm.data.storage import cache_dir
from sfm.errors import InputError

# `flows` are stacked along the slowest axis; complex numbers are pairs, and n counts numbers
SOURCE = r"""
typedef REAL real;
typedef long long size;

/* out (flows, 2, n) = factor (2, n) times modes (flows, n), complex */
void spread(const real *restrict factor, const real *restrict modes, real *restrict out,
            size flows, size n) {
  for (size k = 0; k < flows; k++, modes += n)
    for (size c = 0; c < 2; c++, out += n) {
      const real *restrict f = factor + c * n;
      for (size i = 0; i < n; i += 2) {
        out[i] = f[i] * modes[i] - f[i + 1] * modes[i + 1];
        out[i + 1] = f[i] * modes[i + 1] + f[i + 1] * modes[i];
      }
    }
}

/* out (flows, 2, n) = factor (2, n) times given (flows, n), real */
void spread_back(const real *restrict factor, const real *restrict given, real *restrict out,
                 size flows, size n) {
  for (size k = 0; k < flows; k++, given += n)
    for (size c = 0; c < 2; c++, out += n)
      for (size i = 0; i < n; i++) out[i] = factor[c * n + i] * given[i];
}

/* (u, v) -> (u v, v v - u u), each (flows, 2, n) */
void products(const real *restrict field, real *restrict out, size flows, size n) {
  for (size k = 0; k < flows; k++, field += 2 * n, out += 2 * n) {
    const real *restrict u = field, *restrict v = field + n;
    real *restrict shear = out, *restrict normal = out + n;
    for (size i = 0; i < n; i++) {
      shear[i] = u[i] * v[i];
      normal[i] = v[i] * v[i] - u[i] * u[i];
    }
  }
}

/* the adjoint of that at (u, v), of gradients (a, b): (a v - 2 b u, a u + 2 b v) */
void products_back(const real *restrict given, const real *restrict field, real *restrict out,
                   size flows, size n) {
  for (size k = 0; k < flows; k++, given += 2 * n, field += 2 * n, out += 2 * n) {
    const real *restrict a = given, *restrict b = given + n;
    const real *restrict u = field, *restrict v = field + n;
    real *restrict into_u = out, *restrict into_v = out + n;
    for (size i = 0; i < n; i++) {
      into_u[i] = a[i] * v[i] - 2 * b[i] * u[i];
      into_v[i] = a[i] * u[i] + 2 * b[i] * v[i];
    }
  }
}

/* out (flows, n) = sum over 2 of factor (2, n) times modes (flows, 2, n), complex */
void gather(const real *restrict factor, const real *restrict modes, real *restrict out,
            size flows, size n) {
  const real *restrict f = factor, *restrict g = factor + n;
  for (size k = 0; k < flows; k++, modes += 2 * n, out += n) {
    const real *restrict a = modes, *restrict b = modes + n;
    for (size i = 0; i < n; i += 2) {
      out[i] = f[i] * a[i] - f[i + 1] * a[i + 1] + g[i] * b[i] - g[i + 1] * b[i + 1];
      out[i + 1] = f[i] * a[i + 1] + f[i + 1] * a[i] + g[i] * b[i + 1] + g[i + 1] * b[i];
    }
  }
}

/* out (flows, n) = sum over 2 of factor (2, n) times modes (flows, 2, n), real, plus the force */
void collect(const real *restrict factor, const real *restrict modes, const real *restrict force,
             size force_stride, real *restrict out, size flows, size n) {
  for (size k = 0; k < flows; k++, modes += 2 * n, out += n) {
    const real *restrict a = modes, *restrict b = modes + n;
    for (size i = 0; i < n; i++) out[i] = factor[i] * a[i] + factor[n + i] * b[i];
    if (force) {
      const real *restrict f = force + k * force_stride;
      for (size i = 0; i < n; i++) out[i] += f[i];
    }
  }
}

/* N as in `collect`, then rows (users, flows, n) += weight N, and out = state + mine, (flows, n) */
void stage(const real *restrict factor, const real *restrict modes, const real *restrict force,
           size force_stride, const real *restrict weight, size weight_user, size weight_flow,
           real *rows, const real *mine, const real *restrict state, real *restrict out,
           size flows, size n, size users) {
  collect(factor, modes, force, force_stride, out, flows, n);
  for (size j = 0; j < users; j++)
    for (size k = 0; k < flows; k++) {
      const real *restrict w = weight + j * weight_user + k * weight_flow;
      const real *restrict value = out + k * n;
      real *restrict row = rows + (j * flows + k) * n;
      for (size i = 0; i < n; i++) row[i] += w[i] * value[i];
    }
  for (size i = 0; i < flows * n; i++) out[i] = state[i] + mine[i];
}
"""
POINTERS_AND_SIZES = {
    "spread": "ppp ss",
    "spread_back": "ppp ss",
    "products": "pp ss",
    "products_back": "ppp ss",
    "gather": "ppp ss",
    "collect": "ppp s p ss",
    "stage": "ppp s p ss pppp sss",
}
REALS = {torch.float32: "float", torch.float64: "double"}
FLAGS = ("-std=gnu99", "-O3", "-fPIC", "-shared")


@lru_cache(maxsize=4)
def kernels(dtype: torch.dtype) -> ctypes.CDLL:
    """The compiled functions for real numbers of `dtype`, float32 or float64; sizes in numbers.

    Raises:
        InputError: another precision, no C compiler, or one that fails.
    """
    if dtype not in REALS:
        raise InputError(f"kernel='compiled' runs in float32 and float64, not in {dtype}")
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler or not shutil.which(compiler):
        raise InputError("kernel='compiled' needs a C compiler: set CC to one, or kernel='torch'")
    flags = [*FLAGS, f"-DREAL={REALS[dtype]}"]
    processor = _processor()
    if processor:
        flags.append("-march=native")
    text = "\0".join((SOURCE, compiler, *flags, processor, platform.platform()))
    name = hashlib.sha256(text.encode()).hexdigest()[:24]
    path = cache_dir() / "kernels" / f"advection-{name}.so"
    if not path.is_file():
        _compile([compiler, *flags], path)
    library = ctypes.CDLL(str(path))
    for function, letters in POINTERS_AND_SIZES.items():
        kinds = [ctypes.c_void_p if x == "p" else ctypes.c_longlong for x in letters if x != " "]
        call = getattr(library, function)
        call.argtypes, call.restype = kinds, None
    return library


def _processor() -> str:
    """What tells this processor's instructions from another's; empty where that is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _compile(command: list[str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as scratch:
        words = [*command, "-x", "c", "-", "-o", str(scratch)]
        done = subprocess.run(words, input=SOURCE, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise InputError(f"kernel='compiled': {command[0]} failed: {reason}")
