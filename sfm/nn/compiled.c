/* The density of each token's neighbours and its gradient: sfm/nn/density.py, edge by edge.

Token i receives the edges first[i] ... first[i + 1] - 1. C channels, D carried ones, K radial
functions; a row of filters holds f0, f1, f2 (C each) and p1, p2, q1, q2 (D each). A0 (N, C + 2 D)
has the scalar products of the carried features summed over components. */

typedef REAL real;
typedef long long size;

#define F (3 * C + 4 * D)
#define W (C + D)

static inline void filters_of(const real *restrict b, const real *restrict w, real *restrict f,
                              size n) {
  for (size c = 0; c < n; c++) f[c] = b[0] * w[c];
  for (size k = 1; k < K; k++)
    for (size c = 0; c < n; c++) f[c] += b[k] * w[k * F + c];
}

void density(const real *restrict radial, const real *restrict harmonics,
             const size *restrict sender, const size *restrict first, const real *restrict scalars,
             const real *restrict carried, const real *restrict w, real *restrict a0,
             real *restrict a1, real *restrict a2, size tokens, size begin, size end) {
  const size n = carried ? F : 3 * C, width = carried ? W : C, width0 = carried ? C + 2 * D : C;
  for (size i = begin; i < end; i++) {
    real s0[C + 2 * D] = {0}, s1[3][W] = {{0}}, s2[5][W] = {{0}};
    for (size e = first[i]; e < first[i + 1]; e++) {
      real f[F], g[2 * C];
      const real *restrict y = harmonics + 8 * e, *restrict x = scalars + C * sender[e];
      filters_of(radial + K * e, w, f, n);
      for (size c = 0; c < C; c++) {
        s0[c] += f[c] * x[c];
        g[c] = f[C + c] * x[c];
        g[C + c] = f[2 * C + c] * x[c];
      }
      for (size m = 0; m < 3; m++)
        for (size c = 0; c < C; c++) s1[m][c] += y[m] * g[c];
      for (size m = 0; m < 5; m++)
        for (size c = 0; c < C; c++) s2[m][c] += y[3 + m] * g[C + c];
      if (carried) {
        const real *restrict u = carried + 8 * D * sender[e];
        const real *restrict p1 = f + 3 * C, *restrict p2 = p1 + D;
        const real *restrict q1 = p2 + D, *restrict q2 = q1 + D;
        for (size m = 0; m < 3; m++)
          for (size c = 0; c < D; c++) {
            s1[m][C + c] += p1[c] * u[m * D + c];
            s0[C + c] += y[m] * q1[c] * u[m * D + c];
          }
        for (size m = 3; m < 8; m++)
          for (size c = 0; c < D; c++) {
            s2[m - 3][C + c] += p2[c] * u[m * D + c];
            s0[C + D + c] += y[m] * q2[c] * u[m * D + c];
          }
      }
    }
    for (size c = 0; c < width0; c++) a0[i * width0 + c] = s0[c];
    for (size m = 0; m < 3; m++)
      for (size c = 0; c < width; c++) a1[(m * tokens + i) * width + c] = s1[m][c];
    for (size m = 0; m < 5; m++)
      for (size c = 0; c < width; c++) a2[(m * tokens + i) * width + c] = s2[m][c];
  }
}

/* Gradients of <g, A>: into the edges' radial functions and harmonics, and, unless null, added to
   the senders' features. */
void density_back(const real *restrict radial, const real *restrict harmonics,
                  const size *restrict sender, const size *restrict first,
                  const real *restrict scalars, const real *restrict carried,
                  const real *restrict w, const real *restrict g0, const real *restrict g1,
                  const real *restrict g2, real *restrict to_radial, real *restrict to_harmonics,
                  real *restrict to_scalars, real *restrict to_carried, size tokens, size begin,
                  size end) {
  const size n = carried ? F : 3 * C, width = carried ? W : C, width0 = carried ? C + 2 * D : C;
  for (size i = begin; i < end; i++) {
    const real *restrict h0 = g0 + i * width0;
    real h1[3][W], h2[5][W];
    for (size m = 0; m < 3; m++)
      for (size c = 0; c < width; c++) h1[m][c] = g1[(m * tokens + i) * width + c];
    for (size m = 0; m < 5; m++)
      for (size c = 0; c < width; c++) h2[m][c] = g2[(m * tokens + i) * width + c];
    for (size e = first[i]; e < first[i + 1]; e++) {
      real f[F], df[F], e1[C], e2[C], g[2 * C];
      const real *restrict y = harmonics + 8 * e, *restrict x = scalars + C * sender[e];
      real *restrict dy = to_harmonics + 8 * e, *restrict db = to_radial + K * e;
      filters_of(radial + K * e, w, f, n);
      for (size c = 0; c < C; c++) {
        e1[c] = y[0] * h1[0][c] + y[1] * h1[1][c] + y[2] * h1[2][c];
        e2[c] = y[3] * h2[0][c] + y[4] * h2[1][c] + y[5] * h2[2][c] + y[6] * h2[3][c] +
                y[7] * h2[4][c];
        df[c] = x[c] * h0[c];
        df[C + c] = x[c] * e1[c];
        df[2 * C + c] = x[c] * e2[c];
        g[c] = f[C + c] * x[c];
        g[C + c] = f[2 * C + c] * x[c];
      }
      for (size m = 0; m < 3; m++) {
        real sum = 0;
        for (size c = 0; c < C; c++) sum += g[c] * h1[m][c];
        dy[m] = sum;
      }
      for (size m = 0; m < 5; m++) {
        real sum = 0;
        for (size c = 0; c < C; c++) sum += g[C + c] * h2[m][c];
        dy[3 + m] = sum;
      }
      if (to_scalars) {
        real *restrict ds = to_scalars + C * sender[e];
        for (size c = 0; c < C; c++)
          ds[c] += f[c] * h0[c] + f[C + c] * e1[c] + f[2 * C + c] * e2[c];
      }
      if (carried) {
        const real *restrict u = carried + 8 * D * sender[e];
        real *restrict du = to_carried ? to_carried + 8 * D * sender[e] : 0;
        real *restrict dp = df + 3 * C, *restrict dq = dp + 2 * D;
        const real *restrict p = f + 3 * C, *restrict q = p + 2 * D, *restrict hq = h0 + C;
        for (size c = 0; c < 4 * D; c++) dp[c] = 0;
        for (size m = 0; m < 8; m++) {
          const size r = m < 3 ? 0 : D;
          const real *restrict hp = (m < 3 ? h1[m] : h2[m - 3]) + C;
          real sum = 0;
          for (size c = 0; c < D; c++) {
            const real v = u[m * D + c];
            dp[r + c] += v * hp[c];
            dq[r + c] += y[m] * v * hq[r + c];
            sum += q[r + c] * v * hq[r + c];
          }
          dy[m] += sum;
          if (du)
            for (size c = 0; c < D; c++)
              du[m * D + c] += p[r + c] * hp[c] + y[m] * q[r + c] * hq[r + c];
        }
      }
      for (size k = 0; k < K; k++) {
        real sum = 0;
        for (size c = 0; c < n; c++) sum += df[c] * w[k * F + c];
        db[k] = sum;
      }
    }
  }
}

/* Radial functions and harmonics of vectors in units of the cutoff, over the root of the number of
   neighbours: sfm/nn/radial.py, sfm/nn/harmonics.py. All but what leaves is in double precision:
   differences of coordinates, rounded to single, would be most of the error of forces. */
#include <math.h>
#define R3 1.7320508075688772
#define R5 2.23606797749979
#define R15 3.872983346207417

/* u and u' at x */
static inline void envelope(double x, double *u, double *slope) {
  const double x5 = x * x * x * x * x;
  *u = x < 1 ? 1 - x5 * x * (28 - 48 * x + 21 * x * x) : 0;
  *slope = x < 1 ? -168 * x5 * (1 - x) * (1 - x) : 0;
}

void basis(const double *restrict vectors, const double *restrict cutoff,
           const double *restrict weight, real *restrict radial, real *restrict harmonics,
           size edges) {
  for (size e = 0; e < edges; e++) {
    const double a = vectors[3 * e], b = vectors[3 * e + 1], c = vectors[3 * e + 2];
    const double r = sqrt(a * a + b * b + c * c), x = r / cutoff[e];
    const double nx = a / r, ny = b / r, nz = c / r;
    double u, slope, before = 0, now = sin(M_PI * x), twice = 2 * cos(M_PI * x);
    envelope(x, &u, &slope);
    const double factor = M_SQRT2 * u * weight[e] / x;
    for (size k = 0; k < K; k++) {
      radial[K * e + k] = factor * now;
      const double next = twice * now - before;
      before = now;
      now = next;
    }
    real *restrict y = harmonics + 8 * e;
    y[0] = R3 * nx;
    y[1] = R3 * ny;
    y[2] = R3 * nz;
    y[3] = R15 * nx * nz;
    y[4] = R15 * nx * ny;
    y[5] = R5 * (ny * ny - 0.5 * (nx * nx + nz * nz));
    y[6] = R15 * ny * nz;
    y[7] = 0.5 * R15 * (nz * nz - nx * nx);
  }
}

void basis_back(const double *restrict vectors, const double *restrict cutoff,
                const double *restrict weight, const real *restrict to_radial,
                const real *restrict to_harmonics, double *restrict to_vectors, size edges) {
  for (size e = 0; e < edges; e++) {
    const double a = vectors[3 * e], b = vectors[3 * e + 1], c = vectors[3 * e + 2];
    const double r = sqrt(a * a + b * b + c * c), x = r / cutoff[e];
    const double nx = a / r, ny = b / r, nz = c / r;
    double u, slope, before = 0, now = sin(M_PI * x), cosine = cos(M_PI * x), along = 0;
    const double twice = 2 * cosine;
    double cos_before = 1;
    envelope(x, &u, &slope);
    for (size k = 0; k < K; k++) {
      /* d/dx of sin(k pi x) / x u */
      const double wave = M_PI * (k + 1) * cosine;
      along += to_radial[K * e + k] * (wave * u + now * (slope - u / x)) / x;
      const double next = twice * now - before, cos_next = twice * cosine - cos_before;
      before = now;
      now = next;
      cos_before = cosine;
      cosine = cos_next;
    }
    along *= M_SQRT2 * weight[e] / cutoff[e];
    const real *restrict g = to_harmonics + 8 * e;
    const double gx = R3 * g[0] + R15 * (nz * g[3] + ny * g[4]) - R5 * nx * g[5] - R15 * nx * g[7];
    const double gy = R3 * g[1] + R15 * (nx * g[4] + nz * g[6]) + 2 * R5 * ny * g[5];
    const double gz = R3 * g[2] + R15 * (nx * g[3] + ny * g[6]) - R5 * nz * g[5] + R15 * nz * g[7];
    const double radially = gx * nx + gy * ny + gz * nz;
    to_vectors[3 * e] = along * nx + (gx - radially * nx) / r;
    to_vectors[3 * e + 1] = along * ny + (gy - radially * ny) / r;
    to_vectors[3 * e + 2] = along * nz + (gz - radially * nz) / r;
  }
}

/* Products of vectors v (3, N, C) and tensors t (5, N, C) on a token, gated and summed: the vectors
   g1 v + g21 T v and the tensors g2 t + g11 (v v) + g22 (T T) of sfm/nn/harmonics.py, where a row
   of gates (6 C) holds what is not used here, g1, g21, g2, g11, g22. T is symmetric. */
#define H 0.70710678118654752
#define S 0.40824829046386302

typedef struct {
  real xx, yy, zz, xy, xz, yz;
} symmetric;

static inline symmetric to_matrix(real t0, real t1, real t2, real t3, real t4) {
  const real h = H, s = S;
  symmetric a = {-s * t2 - h * t4, 2 * s * t2, h * t4 - s * t2, h * t1, h * t0, h * t3};
  return a;
}

static inline void from_matrix(symmetric a, real *t) {
  const real h = H, s = S;
  t[0] = 2 * h * a.xz;
  t[1] = 2 * h * a.xy;
  t[2] = s * (2 * a.yy - a.xx - a.zz);
  t[3] = 2 * h * a.yz;
  t[4] = h * (a.zz - a.xx);
}

static inline void times(symmetric a, const real *v, real *out) {
  out[0] = a.xx * v[0] + a.xy * v[1] + a.xz * v[2];
  out[1] = a.xy * v[0] + a.yy * v[1] + a.yz * v[2];
  out[2] = a.xz * v[0] + a.yz * v[1] + a.zz * v[2];
}

/* the symmetric part of v w^T */
static inline symmetric outer(const real *v, const real *w) {
  const real half = 0.5;
  symmetric a = {v[0] * w[0],
                 v[1] * w[1],
                 v[2] * w[2],
                 half * (v[0] * w[1] + v[1] * w[0]),
                 half * (v[0] * w[2] + v[2] * w[0]),
                 half * (v[1] * w[2] + v[2] * w[1])};
  return a;
}

/* the symmetric part of A B */
static inline symmetric product(symmetric a, symmetric b) {
  const real half = 0.5;
  symmetric p = {
      a.xx * b.xx + a.xy * b.xy + a.xz * b.xz,
      a.xy * b.xy + a.yy * b.yy + a.yz * b.yz,
      a.xz * b.xz + a.yz * b.yz + a.zz * b.zz,
      half * (a.xx * b.xy + a.xy * b.yy + a.xz * b.yz + b.xx * a.xy + b.xy * a.yy + b.xz * a.yz),
      half * (a.xx * b.xz + a.xy * b.yz + a.xz * b.zz + b.xx * a.xz + b.xy * a.yz + b.xz * a.zz),
      half * (a.xy * b.xz + a.yy * b.yz + a.yz * b.zz + b.xy * a.xz + b.yy * a.yz + b.yz * a.zz)};
  return p;
}

void couple(const real *restrict vectors, const real *restrict tensors, const real *restrict gates,
            real *restrict to_vectors, real *restrict to_tensors, size tokens) {
  const size step = tokens * C;
  for (size n = 0; n < tokens; n++) {
    const real *restrict g = gates + 6 * C * n;
    for (size c = 0; c < C; c++) {
      const size at = n * C + c;
      real v[3], t[5], tv[3], vv[5], tt[5];
      for (int m = 0; m < 3; m++) v[m] = vectors[m * step + at];
      for (int m = 0; m < 5; m++) t[m] = tensors[m * step + at];
      const symmetric a = to_matrix(t[0], t[1], t[2], t[3], t[4]);
      times(a, v, tv);
      from_matrix(outer(v, v), vv);
      from_matrix(product(a, a), tt);
      for (int m = 0; m < 3; m++) to_vectors[m * step + at] = g[C + c] * v[m] + g[2 * C + c] * tv[m];
      for (int m = 0; m < 5; m++)
        to_tensors[m * step + at] = g[3 * C + c] * t[m] + g[4 * C + c] * vv[m] + g[5 * C + c] * tt[m];
    }
  }
}

void couple_back(const real *restrict vectors, const real *restrict tensors,
                 const real *restrict gates, const real *restrict dv, const real *restrict dt,
                 real *restrict to_vectors, real *restrict to_tensors, real *restrict to_gates,
                 size tokens) {
  const size step = tokens * C;
  for (size n = 0; n < tokens; n++) {
    const real *restrict g = gates + 6 * C * n;
    real *restrict to = to_gates + 6 * C * n;
    for (size c = 0; c < C; c++) {
      const size at = n * C + c;
      real v[3], t[5], x[3], z[5], tv[3], vv[5], tt[5], back[3], turned[3], twice[5], both[5];
      for (int m = 0; m < 3; m++) v[m] = vectors[m * step + at], x[m] = dv[m * step + at];
      for (int m = 0; m < 5; m++) t[m] = tensors[m * step + at], z[m] = dt[m * step + at];
      const symmetric a = to_matrix(t[0], t[1], t[2], t[3], t[4]);
      const symmetric b = to_matrix(z[0], z[1], z[2], z[3], z[4]);
      times(a, v, tv);
      from_matrix(outer(v, v), vv);
      from_matrix(product(a, a), tt);
      to[c] = 0;
      to[C + c] = x[0] * v[0] + x[1] * v[1] + x[2] * v[2];
      to[2 * C + c] = x[0] * tv[0] + x[1] * tv[1] + x[2] * tv[2];
      to[3 * C + c] = z[0] * t[0] + z[1] * t[1] + z[2] * t[2] + z[3] * t[3] + z[4] * t[4];
      to[4 * C + c] = z[0] * vv[0] + z[1] * vv[1] + z[2] * vv[2] + z[3] * vv[3] + z[4] * vv[4];
      to[5 * C + c] = z[0] * tt[0] + z[1] * tt[1] + z[2] * tt[2] + z[3] * tt[3] + z[4] * tt[4];
      times(a, x, back);
      times(b, v, turned);
      from_matrix(outer(x, v), twice);
      from_matrix(product(a, b), both);
      const real g1 = g[C + c], g21 = g[2 * C + c], g2 = g[3 * C + c];
      const real g11 = 2 * g[4 * C + c], g22 = 2 * g[5 * C + c];
      for (int m = 0; m < 3; m++)
        to_vectors[m * step + at] = g1 * x[m] + g21 * back[m] + g11 * turned[m];
      for (int m = 0; m < 5; m++)
        to_tensors[m * step + at] = g2 * z[m] + g21 * twice[m] + g22 * both[m];
    }
  }
}
