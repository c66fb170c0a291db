"""Mechanical systems of few degrees of freedom, by their Hamiltonians, in reduced units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.simulate import Parameter, Setting
from sfm_dynamics.simulators.hamiltonian import Hamiltonian, hamiltonian_settings
from sfm_dynamics.simulators.system import Values


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

    def energy(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states"]:
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

    def energy(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states"]:
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

    def energy(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states"]:
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

    def energy(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states"]:
        u, v, pu, pv = x.unbind(-1)
        quadratic = 0.5 * (pu**2 + pv**2 + u**2 + v**2)
        return quadratic + p["coupling"] * (u**2 * v - v**3 / 3)


class SpringPendulum(Hamiltonian):
    """A mass that swings on a spring, in a plane, with its fixed end at the origin.

        H = (px^2 + py^2) / 2m + k (sqrt(x^2 + y^2) - l)^2 / 2 + m g y

    Reduced units. It hangs at rest at y = -(l + m g / k); small swings have the frequency
    sqrt(g / (l + m g / k)), small stretches sqrt(k / m), and where the second is twice the first
    they exchange their energy.

    Good values: g = l = m = 1, k = 10 (the defaults); dt 0.05.

    Limits: no friction, a plane; the spring has no direction at the origin.

    Source: A. Vitt, G. Gorelik, Zh. Tekh. Fiz. 3, 294 (1933).
    """

    part: ClassVar[str] = "dynamics/spring-pendulum"
    summary: ClassVar[str] = "a pendulum on a spring"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("stiffness", "1", 10.0, 0.0, 1e6, "k; 10"),
        Parameter("gravity", "1", 1.0, 0.0, 1e6, "g; 1"),
        Parameter("length", "1", 1.0, 0.0, 1e6, "l of the spring at rest; 1"),
        Parameter("mass", "1", 1.0, 1e-6, 1e6, "m; 1"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = hamiltonian_settings(0.05)
    citations: ClassVar[tuple[str, ...]] = ("Vitt and Gorelik, Zh. Tekh. Fiz. 3, 294 (1933)",)
    conserved: ClassVar[Mapping[str, float]] = {"hamiltonian": 1e-2}
    default_steps: ClassVar[int] = 400
    variables: ClassVar[tuple[str, ...]] = ("x", "y", "px", "py")

    def start(self) -> tuple[float, ...]:
        return (1.0, -0.5, 0.0, 0.0)

    def energy(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states"]:
        u, v, pu, pv = x.unbind(-1)
        stretch = (u**2 + v**2).sqrt() - p["length"]
        kinetic = (pu**2 + pv**2) / (2 * p["mass"])
        return kinetic + 0.5 * p["stiffness"] * stretch**2 + p["mass"] * p["gravity"] * v
