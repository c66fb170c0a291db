"""The pointwise work between the transforms of a two-dimensional step, in C, compiled at first use.

On small grids a step's time goes into calls, not into work: each kernel here is one call in the
place of three to six. `sfm.nn.c_library` compiles and keeps it; nothing is compiled that was not
asked for (`kernel="compiled"`).
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch

from sfm.nn.c_library import c_library

# `flows` are stacked along the slowest axis; complex numbers are pairs of reals. A box is (flows,
# height, width), (columns of half a spectrum), (largest kept index along y, x)
SOURCE = r"""
typedef REAL real;
typedef long long size;
typedef struct {size flows, height, width, columns, top, right;} box;

/* the rows that the 2/3 rule keeps are numbered 0 to 2 top */
static inline size row(const box *b, size j) {
  return j <= b->top ? j : b->height - 1 - 2 * b->top + j;
}
static inline size mirrored(const box *b, size y) { return y ? b->height - y : 0; }

/* Two real fields f, g are one complex field f + i g. Its spectrum out (flows, height, width), from
   what f + i g and f - i g have as factors of given (flows, height, columns): at k the first, at -k
   the conjugate of the second. Both stand at kx = 0, where their factors are halved. Of out only
   what is kept is written. */
void spread(const box *b, const real *restrict plus, const real *restrict minus,
            const real *restrict given, real *restrict out) {
  size n = 2 * b->height * b->columns, cells = 2 * b->height * b->width;
  for (size flow = 0; flow < b->flows; flow++, given += n, out += cells) {
    for (size j = 0; j <= 2 * b->top; j++) {
      real *restrict o = out + 2 * row(b, j) * b->width;
      o[0] = o[1] = 0;
    }
    for (size j = 0; j <= 2 * b->top; j++) {
      size y = row(b, j), at = 2 * y * b->columns;
      const real *restrict p = plus + at, *restrict q = minus + at, *restrict m = given + at;
      real *here = out + 2 * y * b->width, *there = out + 2 * mirrored(b, y) * b->width;
      here[0] += p[0] * m[0] - p[1] * m[1];
      here[1] += p[0] * m[1] + p[1] * m[0];
      there[0] += q[0] * m[0] - q[1] * m[1];
      there[1] -= q[0] * m[1] + q[1] * m[0];
      for (size x = 2; x <= 2 * b->right; x += 2) {
        here[x] = p[x] * m[x] - p[x + 1] * m[x + 1];
        here[x + 1] = p[x] * m[x + 1] + p[x + 1] * m[x];
      }
      there += 2 * b->width;
      for (size x = 2; x <= 2 * b->right; x += 2) {
        there[-x] = q[x] * m[x] - q[x + 1] * m[x + 1];
        there[1 - x] = -q[x] * m[x + 1] - q[x + 1] * m[x];
      }
    }
  }
}

/* u + i v -> u v + i (v v - u u), n complex numbers */
void products(const real *restrict field, real *restrict out, size n) {
  for (size i = 0; i < 2 * n; i += 2) {
    real u = field[i], v = field[i + 1];
    out[i] = u * v;
    out[i + 1] = v * v - u * u;
  }
}

/* the adjoint of that at u + i v, of gradients a + i b: (a v - 2 b u) + i (a u + 2 b v) */
void products_back(const real *restrict given, const real *restrict field, real *restrict out,
                   size n) {
  for (size i = 0; i < 2 * n; i += 2) {
    real a = given[i], b = given[i + 1], u = field[i], v = field[i + 1];
    out[i] = a * v - 2 * b * u;
    out[i + 1] = a * u + 2 * b * v;
  }
}

/* One row of the modes that two real fields have together, from the spectrum of f + i g:
   value = here at k times what is there + that of -k, conjugated; plus the force */
static inline void collected(const box *b, size y, const real *restrict here,
                             const real *restrict there, const real *restrict spectrum,
                             const real *restrict force, real *restrict value) {
  size at = 2 * y * b->columns;
  const real *restrict p = here + at, *restrict q = there + at;
  const real *restrict s = spectrum + 2 * y * b->width;
  const real *restrict t = spectrum + 2 * mirrored(b, y) * b->width;
  value[0] = p[0] * s[0] - p[1] * s[1] + q[0] * t[0] + q[1] * t[1];
  value[1] = p[0] * s[1] + p[1] * s[0] + q[1] * t[0] - q[0] * t[1];
  t += 2 * b->width;
  for (size x = 2; x <= 2 * b->right; x += 2) {
    value[x] = p[x] * s[x] - p[x + 1] * s[x + 1] + q[x] * t[-x] + q[x + 1] * t[1 - x];
    value[x + 1] = p[x] * s[x + 1] + p[x + 1] * s[x] + q[x + 1] * t[-x] - q[x] * t[1 - x];
  }
  if (force)
    for (size x = 0; x < 2 * b->right + 2; x++) value[x] += force[at + x];
}

/* out (flows, height, columns) of all that is kept, and zeros */
void collect(const box *b, const real *here, const real *there, const real *spectrum,
             const real *force, size force_flow, real *restrict out) {
  size n = 2 * b->height * b->columns;
  for (size flow = 0; flow < b->flows; flow++, out += n) {
    for (size i = 0; i < n; i++) out[i] = 0;
    for (size j = 0; j <= 2 * b->top; j++) {
      size y = row(b, j);
      collected(b, y, here, there, spectrum, force, out + 2 * y * b->columns);
    }
    spectrum += 2 * b->height * b->width;
    if (force) force += force_flow;
  }
}

/* rows (users, flows, n) += weight value, of one row along y */
static inline void added(const box *b, size flow, size at, const real *weight, size weight_user,
                         size weight_flow, size users, real *rows, const real *restrict value) {
  size n = 2 * b->height * b->columns;
  for (size user = 0; user < users; user++) {
    const real *restrict w = weight + user * weight_user + flow * weight_flow + at;
    real *restrict r = rows + (user * b->flows + flow) * n + at;
    for (size x = 0; x < 2 * b->right + 2; x++) r[x] += w[x] * value[x];
  }
}

/* N as in `collect`, then rows += weight N, and out = state + mine, (flows, n) */
void stage(const box *b, const real *here, const real *there, const real *spectrum,
           const real *force, size force_flow, const real *weight, size weight_user,
           size weight_flow, size users, real *rows, const real *mine, const real *state,
           real *restrict out) {
  size n = 2 * b->height * b->columns;
  real value[2 * b->columns];
  for (size flow = 0; flow < b->flows; flow++) {
    for (size j = 0; j <= 2 * b->top; j++) {
      size y = row(b, j);
      collected(b, y, here, there, spectrum, force, value);
      added(b, flow, 2 * y * b->columns, weight, weight_user, weight_flow, users, rows, value);
    }
    spectrum += 2 * b->height * b->width;
    if (force) force += force_flow;
  }
  for (size i = 0; i < b->flows * n; i++) out[i] = state[i] + mine[i];
}

/* out as in `collect`, then rows += weight out, and total += out, (flows, n) */
void stage_back(const box *b, const real *here, const real *there, const real *spectrum,
                const real *weight, size weight_user, size weight_flow, size users, real *rows,
                real *restrict total, real *restrict out) {
  size n = 2 * b->height * b->columns;
  collect(b, here, there, spectrum, 0, 0, out);
  for (size flow = 0; flow < b->flows; flow++, out += n, total += n)
    for (size j = 0; j <= 2 * b->top; j++) {
      size at = 2 * row(b, j) * b->columns;
      added(b, flow, at, weight, weight_user, weight_flow, users, rows, out + at);
      for (size x = 0; x < 2 * b->right + 2; x++) total[at + x] += out[at + x];
    }
}
"""
POINTERS_AND_SIZES = {
    "spread": "ppppp",
    "products": "pps",
    "products_back": "ppps",
    "collect": "ppppp s p",
    "stage": "ppppp s p sss pppp",
    "stage_back": "ppppp sss ppp",
}


@lru_cache(maxsize=4)
def kernels(dtype: torch.dtype) -> ctypes.CDLL:
    """The compiled functions for real numbers of `dtype`, float32 or float64; sizes in reals.

    Raises:
        InputError: another precision, no C compiler, or one that fails.
    """
    return c_library("advection", SOURCE, POINTERS_AND_SIZES, dtype, option="kernel='compiled'")
