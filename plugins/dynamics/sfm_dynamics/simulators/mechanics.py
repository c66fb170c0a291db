"""Mechanical systems of few degrees of freedom, by their Hamiltonians, in reduced units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.simulate import Parameter, Setting
from sfm_dynamics.simulators.hamiltonian import Hamiltonian, hamiltonian_settings
from sfm_dynamics.simulators.ode import State, Values


class MassSpring(Hamiltonian):
    """A mass on a spring, H = p^2 / 2m + k q^2 / 2.

    Without unit. Good values: k = m = 1 (the defaults) has the period 2 pi; dt 0.1 for leapfrog.

    Limits: no friction, Hooke's law at any length.

    Source: R. Hooke (1678); as a test of learned Hamiltonians: S. Greydanus et al. (2019).
    """

    part: ClassVar[str] = "dynamics/mass-spring"
    summary: ClassVar[str] = "a mass on a spring"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("stiffness", "1", 1.0, 0.0, 1e6, "k; 1"),
        Parameter("mass", "1", 1.0, 1e-6, 1e6, "m; 1"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = hamiltonian_settings(0.1)
    citations: ClassVar[tuple[str, ...]] = ("arXiv:1906.01563",)
    conserved: ClassVar[Mapping[str, float]] = {
        "hamiltonian": 5e-3
    }  # leapfrog's H oscillates by (dt omega)^2 / 8
    default_steps: ClassVar[int] = 200
    variables: ClassVar[tuple[str, ...]] = ("q", "p")

    def start(self) -> tuple[float, ...]:
        return (1.0, 0.0)

    def energy(self, x: Tensor, p: Values) -> Tensor:
        q, momentum = x.unbind(-1)
        return momentum**2 / (2 * p["mass"]) + 0.5 * p["stiffness"] * q**2


class Pendulum(Hamiltonian):
    """A mass on a rigid rod, H = p^2 / (2 m l^2) + m g l (1 - cos q), q the angle from below.

    Reduced units. The period from rest at the angle q0 is 4 sqrt(l/g) K(sin^2(q0/2)), with K the
    complete elliptic integral of the first kind.

    Good values: g = l = m = 1 (the defaults); energies below 2 m g l swing, above they turn over.

    Limits: no friction, a plane.

    Source: C. Huygens, Horologium Oscillatorium (1673); H. Goldstein, Classical Mechanics (2002).
    """

    part: ClassVar[str] = "dynamics/pendulum"
    summary: ClassVar[str] = "a pendulum on a rigid rod"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("gravity", "1", 1.0, 0.0, 1e6, "g; 1"),
        Parameter("length", "1", 1.0, 1e-6, 1e6, "l; 1"),
        Parameter("mass", "1", 1.0, 1e-6, 1e6, "m; 1"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = hamiltonian_settings(0.05)
    citations: ClassVar[tuple[str, ...]] = ("Goldstein, Classical Mechanics, 3rd ed. (2002)",)
    conserved: ClassVar[Mapping[str, float]] = {"hamiltonian": 2e-3}
    default_steps: ClassVar[int] = 400
    variables: ClassVar[tuple[str, ...]] = ("angle", "p")

    def start(self) -> tuple[float, ...]:
        return (1.5, 0.0)

    def energy(self, x: Tensor, p: Values) -> Tensor:
        q, momentum = x.unbind(-1)
        kinetic = momentum**2 / (2 * p["mass"] * p["length"] ** 2)
        return kinetic + p["mass"] * p["gravity"] * p["length"] * (1 - torch.cos(q))


class DoublePendulum(Hamiltonian):
    """Two pendulums, one on the other, with the angles q1, q2 from below.

        H = [m2 l2^2 p1^2 + (m1 + m2) l1^2 p2^2 - 2 m2 l1 l2 p1 p2 cos(q1 - q2)]
              / (2 m2 l1^2 l2^2 [m1 + m2 sin^2(q1 - q2)])
            - (m1 + m2) g l1 cos q1 - m2 g l2 cos q2

    Reduced units. Not separable: gauss4 (the default) is symplectic of order 4.

    Good values: all parameters 1; chaotic at large angles. dt 0.05.

    Limits: no friction, a plane.

    Source: H. Goldstein, Classical Mechanics (2002); T. Shinbrot et al., Am. J. Phys. 60, 491
    (1992).
    """

    part: ClassVar[str] = "dynamics/double-pendulum"
    summary: ClassVar[str] = "two pendulums, one on the other"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("mass1", "1", 1.0, 1e-6, 1e6, "m1; 1"),
        Parameter("mass2", "1", 1.0, 1e-6, 1e6, "m2; 1"),
        Parameter("length1", "1", 1.0, 1e-6, 1e6, "l1; 1"),
        Parameter("length2", "1", 1.0, 1e-6, 1e6, "l2; 1"),
        Parameter("gravity", "1", 1.0, 0.0, 1e6, "g; 1"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = hamiltonian_settings(0.05, method="gauss4")
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1119/1.16860",)
    order: ClassVar[tuple[str, int] | None] = ("dt", 4)
    conserved: ClassVar[Mapping[str, float]] = {"hamiltonian": 1e-5}
    default_steps: ClassVar[int] = 400
    variables: ClassVar[tuple[str, ...]] = ("angle1", "angle2", "p1", "p2")
    separable: ClassVar[bool] = False

    def start(self) -> tuple[float, ...]:
        return (2.0, 1.5, 0.0, 0.0)

    def energy(self, x: Tensor, p: Values) -> Tensor:
        q1, q2, p1, p2 = x.unbind(-1)
        m1, m2, l1, l2, g = (p[s.name] for s in self.parameters_spec)
        delta = q1 - q2
        top = m2 * l2**2 * p1**2 + (m1 + m2) * l1**2 * p2**2
        top = top - 2 * m2 * l1 * l2 * p1 * p2 * torch.cos(delta)
        bottom = 2 * m2 * l1**2 * l2**2 * (m1 + m2 * torch.sin(delta) ** 2)
        potential = -(m1 + m2) * g * l1 * torch.cos(q1) - m2 * g * l2 * torch.cos(q2)
        return top / bottom + potential


class HenonHeiles(Hamiltonian):
    """A star in a galaxy, H = (px^2 + py^2 + x^2 + y^2) / 2 + lambda (x^2 y - y^3 / 3).

    Without unit. Good values: lambda 1; energies below 1/12 are nearly regular, above mostly
    chaotic, and from 1/6 on the star may escape. dt 0.1 for leapfrog, 0.25 for yoshida4.

    Limits: above the energy 1/(6 lambda^2) trajectories run away.

    Source: M. Henon, C. Heiles, Astron. J. 69, 73 (1964).
    """

    part: ClassVar[str] = "dynamics/henon-heiles"
    summary: ClassVar[str] = "a star in the potential of Henon and Heiles"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("coupling", "1", 1.0, -100.0, 100.0, "lambda; 1"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = hamiltonian_settings(0.05)
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1086/109234",)
    conserved: ClassVar[Mapping[str, float]] = {"hamiltonian": 2e-3}
    default_steps: ClassVar[int] = 2000
    variables: ClassVar[tuple[str, ...]] = ("x", "y", "px", "py")

    def start(self) -> tuple[float, ...]:
        return (0.0, 0.1, 0.49, 0.0)

    def energy(self, x: Tensor, p: Values) -> Tensor:
        u, v, pu, pv = x.unbind(-1)
        quadratic = 0.5 * (pu**2 + pv**2 + u**2 + v**2)
        return quadratic + p["coupling"] * (u**2 * v - v**3 / 3)


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

    def energy(self, x: Tensor, p: Values) -> Tensor:
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


class LearnedHamiltonian(Hamiltonian):
    """dq/dt = dH/dp, dp/dt = -dH/dq with H a closure alone: a Hamiltonian neural network.

        H = closure(q, p)

    Without unit. `n` degrees of freedom; the closure is a module from states (..., 2n) to energies
    (...), for instance `sfm_dynamics.model.networks.Energy`. Nothing is assumed of H, so the
    method is implicit-midpoint (symplectic) unless rk4, dopri5, ... are asked for.

    Good values: as the data that the closure learned from.

    Limits: needs a closure; conserves the closure's energy, which is the system's only as far as
    the closure is right.

    Source: S. Greydanus, M. Dzamba, J. Yosinski, NeurIPS (2019), arXiv:1906.01563.
    """

    part: ClassVar[str] = "dynamics/hamiltonian"
    summary: ClassVar[str] = "motion under a learned Hamiltonian"
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *hamiltonian_settings(0.1, method="implicit-midpoint"),
        Setting("n", 1, summary="degrees of freedom"),
    )
    citations: ClassVar[tuple[str, ...]] = ("arXiv:1906.01563",)
    separable: ClassVar[bool] = False
    n: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.n < 1:
            raise InputError(f"{self.part}: n={self.n} must be positive")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{kind}{i + 1}" for kind in "qp" for i in range(self.n))

    def start(self) -> tuple[float, ...]:
        return (1.0,) * self.n + (0.0,) * self.n

    def total(
        self, p: Values | None = None, weights: Values | None = None
    ) -> Callable[[Tensor], Tensor]:
        if self.closure is None:
            raise InputError(
                f"{self.part}: needs a closure that says the energy; `dynamics/mass-spring` and "
                "others know theirs"
            )
        return super().total(p, weights)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Hamiltonian, State]:
        """An anharmonic oscillator as the closure."""
        simulator = cls(closure=_Quartic(), **values)
        return simulator, simulator.state()


class _Quartic(nn.Module):
    """H = p^2 / 2 + q^2 / 2 + q^4 / 4."""

    def forward(self, x: Tensor) -> Tensor:
        q, p = x.chunk(2, -1)
        return (0.5 * (p**2 + q**2) + 0.25 * q**4).sum(-1)
