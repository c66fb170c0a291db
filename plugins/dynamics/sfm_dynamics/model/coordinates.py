"""Mechanical systems as bodies in space: the trunk's energy as the closure of a Hamiltonian.

A pendulum has an angle, the trunk has bodies. Where the bodies are at given coordinates is known,
and so is the kinetic energy; the potential energy is what the model says of the bodies:

    H(q, p) = T(q, p) + E(x(q))

What holds or pulls a body is a body too: the fixed end of a spring, the pivot of a rod, the Earth
below, the floor. So one model of an energy that knows no direction in space holds swings, falls and
orbits, and its types say what a body is.

In the reduced units of the plugin: 1 angstrom, 1 amu, 1 eV. Source of generalised coordinates: H.
Goldstein, Classical Mechanics, 3rd ed. (2002).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

MASS, SPRING, PIVOT, EARTH, FLOOR, STAR = range(6)
DEPTH = 3.0  # of the Earth's body below the origin


@dataclass(frozen=True)
class Placement:
    """Where the bodies of a system are.

    Attributes:
        types: what each body is.
        positions: coordinates (..., n) -> positions (..., bodies, 3).
    """

    types: tuple[int, ...]
    positions: Callable[[Tensor], Tensor]


class BodyPotential(nn.Module):
    """Potential energies (...) at states (..., 2n): closure of Hamiltonian simulators.

    Args:
        energy: `(positions (N, 3), types (N,), system (N,)) -> energies (S,)`, as
            `model.closure("dynamics")` gives it.
        placement: of the system.
    """

    def __init__(self, energy: nn.Module, placement: Placement) -> None:
        super().__init__()
        self.energy, self.placement = energy, placement

    def at(self, q: Float[Tensor, "*states n"]) -> Float[Tensor, "*states"]:
        """Energies (...) at coordinates (..., n)."""
        bodies = len(self.placement.types)
        places = self.placement.positions(q).reshape(-1, 3)
        count = len(places) // bodies
        types = torch.tensor(self.placement.types, device=q.device).repeat(count)
        system = torch.arange(count, device=q.device).repeat_interleave(bodies)
        energies: Tensor = self.energy(places, types, system)
        return energies.to(q).reshape(q.shape[:-1])

    def forward(self, x: Float[Tensor, "*states d"]) -> Float[Tensor, "*states"]:
        return self.at(x.chunk(2, -1)[0])


def _rows(q: Tensor, *bodies: tuple[Tensor | float, Tensor | float]) -> Tensor:
    """Positions (..., bodies, 3) in the plane of x and y."""
    zero = torch.zeros_like(q[..., 0])
    rows = [torch.stack((zero + x, zero + y, zero), -1) for x, y in bodies]
    return torch.stack(rows, -2)


def _mass_spring(q: Tensor) -> Tensor:
    return _rows(q, (2.0 + q[..., 0], 0.0), (0.0, 0.0))


def _pendulum(q: Tensor) -> Tensor:
    a = q[..., 0]
    return _rows(q, (a.sin(), -a.cos()), (0.0, 0.0), (0.0, -DEPTH))


def _double_pendulum(q: Tensor) -> Tensor:
    a, b = q.unbind(-1)
    first = (a.sin(), -a.cos())
    second = (first[0] + b.sin(), first[1] - b.cos())
    return _rows(q, first, second, (0.0, 0.0), (0.0, -DEPTH))


def _spring_pendulum(q: Tensor) -> Tensor:
    return _rows(q, tuple(q.unbind(-1)), (0.0, 0.0), (0.0, -DEPTH))  # type: ignore[arg-type]


def _bouncing_ball(q: Tensor) -> Tensor:
    return _rows(q, (0.0, q[..., 0]), (0.0, -DEPTH / 2))


def _three_body(q: Tensor) -> Tensor:
    x = q.reshape(*q.shape[:-1], 3, 2)
    return _rows(q, *((x[..., i, 0], x[..., i, 1]) for i in range(3)))


PLACEMENTS = {
    "mass-spring": Placement((MASS, SPRING), _mass_spring),
    "pendulum": Placement((MASS, PIVOT, EARTH), _pendulum),
    "spring-pendulum": Placement((MASS, SPRING, EARTH), _spring_pendulum),
    "double-pendulum": Placement((MASS, MASS, PIVOT, EARTH), _double_pendulum),
    "three-body": Placement((STAR, STAR, STAR), _three_body),
    "bouncing-ball": Placement((MASS, FLOOR), _bouncing_ball),
}
"""Of the simulators of these names, with all lengths 1."""
