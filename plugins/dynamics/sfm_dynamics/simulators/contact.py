"""A ball that bounces: contact as a stiff spring that loses energy."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.simulate import Parameter, Setting
from sfm_dynamics.simulators.ode import Ode, settings
from sfm_dynamics.simulators.system import State, Values


class BouncingBall(Ode):
    """A ball above a soft floor, by the law of contact of Hunt and Crossley.

        dh/dt = v,   dv/dt = -g + k d^2 (1 - 3/2 c v) / m,   d = max(-h, 0)

    h is the height of its lowest point, d how deep it dents the floor. A ball that hits the floor
    at a speed u leaves it at about (1 - c u) u: it loses energy where it touches, and there alone.

    Reduced units. Good values: g = m = 1, k = 1000, c = 0.1 (the defaults), heights about 1; rk4
    with dt 0.02 (a contact takes some 0.3). c = 0 keeps the energy.

    Limits: one direction, no air. The exponent 2 of the dent, where Hertz has 3/2, keeps the
    derivatives of the rates continuous.

    Source: K. H. Hunt, F. R. E. Crossley, J. Appl. Mech. 42, 440 (1975).
    """

    part: ClassVar[str] = "dynamics/bouncing-ball"
    summary: ClassVar[str] = "a ball that bounces and loses energy"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("gravity", "1", 1.0, 0.0, 1e6, "g; 1"),
        Parameter("stiffness", "1", 1000.0, 0.0, 1e9, "k of the floor; 1000"),
        Parameter("loss", "1", 0.1, 0.0, 10.0, "c; 0.1, and 0 for none"),
        Parameter("mass", "1", 1.0, 1e-6, 1e6, "m; 1"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = settings(0.02)
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1115/1.3423596",)
    default_steps: ClassVar[int] = 500
    variables: ClassVar[tuple[str, ...]] = ("height", "speed")

    def start(self) -> tuple[float, ...]:
        return (1.0, 0.0)

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        h, v = x.unbind(-1)
        push = p["stiffness"] * (-h).clamp_min(0).square() * (1 - 1.5 * p["loss"] * v)
        return torch.stack((v, push / p["mass"] - p["gravity"]), -1)

    def energy(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states"]:
        """Kinetic energy, that of the height and that of the dent: (...) at states (..., 2)."""
        h, v = x.unbind(-1)
        dent = (-h).clamp_min(0)
        falling = p["mass"] * (0.5 * v**2 + p["gravity"] * h)
        return falling + p["stiffness"] * dent**3 / 3

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Ode, State]:
        """In touch with the floor all the while: the order of a method is that of smooth rates."""
        simulator = cls(**values)
        return simulator, simulator.at(torch.tensor([-0.05, -1.0]))
