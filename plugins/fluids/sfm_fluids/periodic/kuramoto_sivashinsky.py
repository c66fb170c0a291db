"""`fluids/kuramoto-sivashinsky`: the simplest chaotic partial differential equation, on a line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from sfm.simulate import Parameter, Setting
from sfm_fluids.periodic.one_dimensional import (
    Flux,
    LineState,
    OneDimensional,
    line_settings,
    per_member,
)


class KuramotoSivashinsky(OneDimensional):
    """The Kuramoto-Sivashinsky equation on a periodic line.

        u_t = -a u u_x - b u_xx - c u_xxxx - d u

    with Fourier modes, the 2/3 rule and ETDRK4 in time, the method that A.-K. Kassam and
    L. N. Trefethen, SIAM J. Sci. Comput. 26, 1214 (2005) recommend for it. The mode of wavenumber q
    grows at the rate b q^2 - c q^4 - d, so that a = b = c = 1, d = 0 (the defaults) has about
    length / 9 unstable cells. The mean of u decays at the rate d and does nothing else than carry
    the pattern along; units are the equation's own.

    Good values: length 22 (12 to 36 is where chaos sets in) with 48 points and dt = 0.1; length
    100 with 192 points. Two points per unit length are enough. The leading Lyapunov exponent at
    length 22 is 0.048 (P. Cvitanovic, R. L. Davidchack, E. Siminos, SIAM J. Appl. Dyn. Syst. 9, 1
    (2010)), so that errors grow tenfold in a time of 48.

    Initial fields: `random` (small, long waves), `wave`: cos y (1 + sin y), y = 2 pi x / length,
    of Kassam and Trefethen (who take length = 32 pi).

    Limits: periodic only; a fixed step; the solution is chaotic, so compare statistics, not fields,
    after some 100 time units.
    """

    part: ClassVar[str] = "fluids/kuramoto-sivashinsky"
    summary: ClassVar[str] = "Kuramoto-Sivashinsky equation on a periodic line: chaos in 1-D"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("advection", "1", 1.0, summary="a, of u u_x"),
        Parameter("instability", "1", 1.0, summary="b, of -u_xx: negative diffusion"),
        Parameter("hyperviscosity", "1", 1.0, 0.0, math.inf, "c, of -u_xxxx"),
        Parameter("damping", "1", 0.0, 0.0, math.inf, "d, of -u; below b^2 / (4 c) for chaos"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *line_settings(48, 22.0, 0.1),
        Setting("initial", "random", ("random", "wave"), summary="initial field"),
    )
    citations = (
        "https://doi.org/10.1137/S1064827502410633",  # Kassam and Trefethen 2005
        "https://doi.org/10.1137/070705623",  # Cvitanovic, Davidchack and Siminos 2010
    )
    default_steps: ClassVar[int] = 2000
    conserved: ClassVar[Mapping[str, float]] = {"mean_velocity": 1e-12}

    advection: Tensor
    instability: Tensor
    hyperviscosity: Tensor
    damping: Tensor
    initial: str

    resolved: ClassVar[float] = 1e-2

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[KuramotoSivashinsky, LineState]:
        """A wave with a mean flow."""
        simulator = cls(**{"points": 24, "dt": 0.1, "initial": "wave", **values})
        return simulator, simulator.from_field(0.3 + simulator.initial_field())

    def initial_field(self) -> Float[Tensor, "B N"]:
        """(B, N) of the setting `initial`."""
        if self.initial == "random":
            return self.random_fields(max(2, round(self.length / 9)), 0.5)
        y = 2 * math.pi / self.length * self.grid.coordinates()
        return (y.cos() * (1 + y.sin()))[None]

    def linear_operator(self) -> Float[Tensor, "*B K"]:
        """b k^2 - c k^4 - d."""
        k2 = self.grid.wavenumbers(device=self.advection.device) ** 2
        b, c, d = (per_member(p) for p in (self.instability, self.hyperviscosity, self.damping))
        return (b - c * k2) * k2 - d

    def flux(self) -> Flux:
        """a u^2 / 2."""

        def flux(u: Tensor, a: Tensor) -> Tensor:
            return 0.5 * (a[:, None] if a.ndim else a) * u * u

        return Flux(flux, (self.advection,))


def trace(simulator: KuramotoSivashinsky) -> Float[Tensor, "*B"]:
    """Sum of all Lyapunov exponents: that of L over the real amplitudes of the retained modes.

    The nonlinear term stretches nowhere on average: it only exchanges. Float64, () or (B,), in
    1 / unit of time.
    """
    return 2 * simulator.linear_operator()[..., 1 : simulator.grid.modes + 1].sum(-1)
