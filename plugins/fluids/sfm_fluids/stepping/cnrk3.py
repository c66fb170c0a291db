"""Crank-Nicolson for L, Williamson's low-storage Runge-Kutta method of third order for N.

    h_k = N(u_k) + b_k h_{k-1},    u_{k+1} = u_k + (dt g_k h_k + 2 m_k u_k) / (1 - m_k)
    m_k = L dt (c_{k+1} - c_k) / 2
    c = 0, 1/3, 3/4, 1    b = 0, -5/9, -153/128    g = 1/3, 15/16, 8/15

J. H. Williamson, J. Comput. Phys. 35, 48 (1980); with Crank-Nicolson in each sub-step as in
C. Canuto et al., Spectral Methods in Fluid Dynamics (1988), section 4.3.

**Second order** in dt where L acts; third order for L = 0. Stable for any damping, but modes with
|L dt| >> 1 change sign and hardly decay instead of vanishing: take `etdrk2` or `etdrk4` for stiff
problems. The three stages are written as increments of u with the h_k put in.

Times, rates and coefficients in any consistent system of units.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Inexact
from torch import Tensor

from sfm_fluids.stepping.phi import cast, double
from sfm_fluids.stepping.tableau import Row, Tableau

TIMES = (0.0, 1 / 3, 3 / 4, 1.0)
CARRY = (0.0, -5 / 9, -153 / 128)
GAIN = (1 / 3, 15 / 16, 8 / 15)


class Coefficients(NamedTuple):
    """Factors of one step; each has the shape of L. a_i: of u; b_ij: of N(u_j) in u_{i+1}."""

    a0: Tensor
    b00: Tensor
    a1: Tensor
    b10: Tensor
    b11: Tensor
    a2: Tensor
    b20: Tensor
    b21: Tensor
    b22: Tensor


TABLEAU = Tableau(nodes=TIMES[:3], rows=(Row(0, (1,)), Row(2, (3, 4)), Row(5, (6, 7, 8))))
step = TABLEAU.step


def coefficients(linear: Inexact[Tensor, " ..."], dt: float, dtype: torch.dtype) -> Coefficients:
    """Coefficients, of the shape of L, of a step of size `dt`; differentiable in L.

    Made in float64 and cast.
    """
    z = double(linear) * dt
    a = torch.zeros_like(z)
    weights: list[Tensor] = []
    history: list[float] = []
    factors: list[Tensor] = []
    for k in range(3):
        m = 0.5 * z * (TIMES[k + 1] - TIMES[k])
        history = [CARRY[k] * h for h in history] + [1.0]
        solve = 1 / (1 - m)
        grown = 2 * m * solve
        a = a + grown + grown * a
        weights = [w + grown * w for w in weights] + [torch.zeros_like(z)]
        weights = [w + dt * GAIN[k] * h * solve for w, h in zip(weights, history, strict=True)]
        factors += [a, *weights]
    return Coefficients(*(cast(c, dtype) for c in factors))
