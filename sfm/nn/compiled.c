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
   neighbours: sfm/nn/radial.py, sfm/nn/harmonics.py; in double precision inside. */
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

void basis(const real *restrict vectors, const real *restrict cutoff, const real *restrict weight,
           real *restrict radial, real *restrict harmonics, size edges) {
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

void basis_back(const real *restrict vectors, const real *restrict cutoff,
                const real *restrict weight, const real *restrict to_radial,
                const real *restrict to_harmonics, real *restrict to_vectors, size edges) {
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
