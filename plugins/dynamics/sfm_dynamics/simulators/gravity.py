"""Bodies in a plane that attract each other, by their Hamiltonians, in reduced units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from sfm.simulate import Parameter, Setting
from sfm_dynamics.simulators.hamiltonian import Hamiltonian, hamiltonian_settings
from sfm_dynamics.simulators.system import Values


class Kepler(Hamiltonian):
    """A planet about a fixed sun, H = (px^2 + py^2) / 2 - mu / sqrt(x^2 + y^2).

    Reduced units; a bound orbit is an ellipse of semi-major axis a = -mu / 2H and period
    2 pi sqrt(a^3 / mu).

    Good values: mu 1; the start is the perihelion of an orbit with a = 1 and eccentricity 0.5.
    dt 0.02 for leapfrog, 0.05 for yoshida4.

    Limits: no collision: rates grow without bound at the sun.

    Source: J. Kepler, Astronomia nova (1609); H. Goldstein, Classical Mechanics (2002).
    """

    part: ClassVar[str] = "dynamics/kepler"
    summary: ClassVar[str] = "a planet about a fixed sun"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("mu", "1", 1.0, 0.0, 1e6, "gravitational parameter; 1"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = hamiltonian_settings(0.02)
    citations: ClassVar[tuple[str, ...]] = ("Goldstein, Classical Mechanics, 3rd ed. (2002)",)
    conserved: ClassVar[Mapping[str, float]] = {"hamiltonian": 5e-3}
    default_steps: ClassVar[int] = 700
    variables: ClassVar[tuple[str, ...]] = ("x", "y", "px", "py")

    def start(self) -> tuple[float, ...]:
        return (0.5, 0.0, 0.0, 3.0**0.5)

    def energy(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states"]:
        u, v, pu, pv = x.unbind(-1)
        return 0.5 * (pu**2 + pv**2) - p["mu"] / (u**2 + v**2).sqrt()


class _Gravity(Hamiltonian):
    """Bodies in a plane that attract each other with G m_i m_j / r."""

    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("gravity", "1", 1.0, 0.0, 1e6, "G; 1"),
        Parameter("softening", "1", 0.0, 0.0, 10.0, "s in sqrt(r^2 + s^2), 0 is Newton's law"),
    )
    bodies: ClassVar[int]

    def energy(self, x: Tensor, p: Values) -> Tensor:
        q, momenta = x.chunk(2, -1)
        q = q.reshape(*q.shape[:-1], self.bodies, 2)
        total = 0.5 * momenta.square().sum(-1)
        for i in range(self.bodies):
            for j in range(i):
                square = (q[..., i, :] - q[..., j, :]).square().sum(-1)
                total = total - p["gravity"] / (square + p["softening"] ** 2).sqrt()
        return total


def _names(bodies: int) -> tuple[str, ...]:
    return tuple(
        f"{s}{i + 1}" for kind in ("", "p") for i in range(bodies) for s in (f"{kind}x", f"{kind}y")
    )


class TwoBody(_Gravity):
    """Two equal stars in a plane, H = (p1^2 + p2^2) / 2 - G / sqrt(|q1 - q2|^2 + s^2).

    Reduced units, masses 1. A circular orbit of radius r has the momenta sqrt(G / 4 r).

    Good values: G 1, s 0 (the defaults), start on a slightly eccentric orbit of radius 1; dt 0.05.

    Limits: no collision at s = 0.

    Source: H. Goldstein, Classical Mechanics (2002); as a test of learned Hamiltonians:
    S. Greydanus et al. (2019).
    """

    part: ClassVar[str] = "dynamics/two-body"
    summary: ClassVar[str] = "two stars that attract each other"
    settings_spec: ClassVar[tuple[Setting, ...]] = hamiltonian_settings(0.05)
    citations: ClassVar[tuple[str, ...]] = ("arXiv:1906.01563",)
    conserved: ClassVar[Mapping[str, float]] = {"hamiltonian": 2e-3}
    default_steps: ClassVar[int] = 600
    bodies: ClassVar[int] = 2
    variables: ClassVar[tuple[str, ...]] = _names(2)

    def start(self) -> tuple[float, ...]:
        return (1.0, 0.0, -1.0, 0.0, 0.0, 0.55, 0.0, -0.55)


class ThreeBody(_Gravity):
    """Three equal stars in a plane, H = sum p^2 / 2 - sum_{i<j} G / sqrt(|q_i - q_j|^2 + s^2).

    Reduced units, masses 1. The start is the figure of eight, of period 6.32591398.

    Good values: G 1, s 0, yoshida4 (the default) with dt 0.01; other starts are chaotic.

    Limits: close encounters need a smaller dt or dopri8.

    Source: A. Chenciner, R. Montgomery, Ann. Math. 152, 881 (2000); initial values of C. Simo.
    """

    part: ClassVar[str] = "dynamics/three-body"
    summary: ClassVar[str] = "three stars that attract each other"
    settings_spec: ClassVar[tuple[Setting, ...]] = hamiltonian_settings(0.02, method="yoshida4")
    citations: ClassVar[tuple[str, ...]] = ("doi:10.2307/2661357",)
    order: ClassVar[tuple[str, int] | None] = ("dt", 4)
    conserved: ClassVar[Mapping[str, float]] = {"hamiltonian": 1e-4}
    default_steps: ClassVar[int] = 320
    bodies: ClassVar[int] = 3
    variables: ClassVar[tuple[str, ...]] = _names(3)

    def start(self) -> tuple[float, ...]:
        x, y = 0.97000436, -0.24308753
        u, v = 0.466203685, 0.43236573
        return (x, y, -x, -y, 0.0, 0.0, u, v, u, v, -2 * u, -2 * v)
