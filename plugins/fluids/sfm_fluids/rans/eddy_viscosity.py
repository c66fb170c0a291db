"""What an eddy viscosity may depend on, the mixing length, and a network in its place.

All in wall units (lengths in nu / u_tau, velocities in u_tau), by definition of those. Sources are
E. R. van Driest, J. Aeronaut. Sci. 23, 1007 (1956) for the damping, and J. Nikuradse (1932) for the
mixing length in the core.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError


class LocalFlow(NamedTuple):
    """The flow at P points, in wall units: what a closure sees.

    Attributes:
        wall_distance: y+ = y u_tau / nu, (..., P).
        outer_distance: y / h, (..., P).
        shear: dU+/dy+, (..., P).
        kinetic_energy: k / u_tau^2, (..., P); None without transport equations.
        dissipation: epsilon~ nu / u_tau^4, (..., P); None without transport equations.
    """

    wall_distance: Tensor
    outer_distance: Tensor
    shear: Tensor
    kinetic_energy: Tensor | None = None
    dissipation: Tensor | None = None

    def expanded(self) -> LocalFlow:
        """The same with the distances in the shape of the shear."""
        shape = self.shear.shape
        return self._replace(
            wall_distance=self.wall_distance.expand(shape),
            outer_distance=self.outer_distance.expand(shape),
        )


def mixing_length(
    wall_distance: Float[Tensor, "*flows P"],
    height: Float[Tensor, " ..."],
    von_karman: Float[Tensor, " ..."],
    damping_length: Float[Tensor, " ..."],
    core: str,
) -> Float[Tensor, "*flows P"]:
    """l+ (..., P) with van Driest's damping 1 - exp(-y+/A+) (van Driest 1956).

    `core="nikuradse"`: l = kappa h (0.35 - 0.2 (1 - y/h)^2 - 0.15 (1 - y/h)^4), Nikuradse's
    polynomial with its slope at the wall as kappa; `core="linear"`: l = kappa y throughout.
    """
    length = von_karman * wall_distance
    if core == "nikuradse":
        inside = (1 - wall_distance / height).square()
        length = von_karman * height * (0.35 - 0.2 * inside - 0.15 * inside.square())
    return length * -torch.expm1(-wall_distance / damping_length)


class EddyViscosityNetwork(nn.Module):
    """A learned eddy viscosity nu_t / nu for `fluids/rans-channel`.

        nu_t / nu = 0.41 y+ (1 - exp(-y+ / 26))^2 exp(m(ln(1 + y+), y/h, ln(1 + y+^2 dU+/dy+)))

    with a small perceptron m that starts at zero and is bounded, |m| <= 4. So nu_t is positive,
    vanishes at the wall as y^3 (the exact behaviour), and sees one point at a time.

    Args:
        hidden: width of the two hidden layers.
        generator: of the weights.
    """

    bound = 4.0

    def __init__(self, hidden: int = 16, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, hidden), nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 1)
        with torch.no_grad():
            for layer in (self.first, self.second):
                scale = layer.in_features**-0.5
                layer.weight.normal_(0, scale, generator=generator)
                layer.bias.zero_()
            self.last.weight.zero_()
            self.last.bias.zero_()

    def forward(self, flow: LocalFlow) -> Float[Tensor, "*flows P"]:
        """(..., P) nu_t / nu."""
        y = flow.wall_distance
        features = torch.stack(
            [
                torch.log1p(y) / 3 - 1,
                2 * flow.outer_distance - 1,
                torch.log1p(y.square() * flow.shear.abs()) / 3 - 1,
            ],
            -1,
        )
        hidden = torch.tanh(self.second(torch.tanh(self.first(features))))
        factor = self.bound * torch.tanh(self.last(hidden).squeeze(-1) / self.bound)
        return 0.41 * y * torch.expm1(-y / 26).square() * torch.exp(factor)


def check_closure(closure: nn.Module, with_transport: bool) -> None:
    """Refuse a closure that breaks what the solver relies on, tried on a made-up profile.

    Raises:
        InputError: a wrong shape, a value that is negative or not finite, a value that does not
            vanish at the wall, or one that depends on the flow at other points.
    """
    reference = next(closure.parameters(), torch.zeros(0, dtype=torch.float64))
    y = torch.tensor([1e-4, 1.0, 10.0, 50.0, 150.0]).to(reference).expand(2, 5)
    shear = 1 / (1 + 0.4 * y)
    energy = 3 * y.square() / (10 + y.square()) if with_transport else None
    flow = LocalFlow(y, y / 200, shear, energy, 0.2 / (1 + 0.1 * y) if with_transport else None)
    name = type(closure).__name__
    with torch.no_grad():
        value = closure(flow)
        if value.shape != y.shape:
            raise InputError(
                f"closure {name} gives shape {tuple(value.shape)} for {tuple(y.shape)} points; "
                "return nu_t / nu of each point"
            )
        if not bool(torch.isfinite(value).all() and (value >= 0).all()):
            raise InputError(f"closure {name} gives a nu_t / nu that is negative or not finite")
        if float(value[..., 0].max()) > 1e-2:
            raise InputError(
                f"closure {name}: nu_t / nu = {float(value[0, 0]):.3g} at y+ = 1e-4; multiply it "
                "by a factor that vanishes at the wall"
            )
        moved = shear.clone()
        moved[..., 2] *= 1.5
        change = (closure(flow._replace(shear=moved)) - value).abs()
        change[..., 2] = 0
        if float(change.max()) > 1e-6 * float(value.abs().max()):
            raise InputError(
                f"closure {name} mixes points: it must map each point's own values to nu_t / nu"
            )
