"""The simulator `phi4/hybrid-monte-carlo`."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from sfm.data.sample import Sample
from sfm.quantity import Quantity
from sfm.simulate import Parameter, Setting, Simulator
from sfm_phi4.quantities import ACCEPTED, ACTION, MAGNETISATION, PHI, PHI2
from sfm_phi4.theory import action, drift


class State(NamedTuple):
    """Fields (chains, L, L); trajectories done, an integer; how many each chain accepted."""

    phi: Tensor
    time: Tensor
    accepted: Tensor


class HybridMonteCarlo(Simulator):
    """Fields with the weight exp(-S[phi]), by hybrid Monte Carlo.

        S = sum_x  1/2 sum_mu (phi_x - phi_{x+mu})^2 + m2/2 phi_x^2 + lambda phi_x^4

    A step draws momenta, follows dphi/dt = p, dp/dt = -dS/dphi by the leapfrog, and is accepted
    with probability min(1, exp(-dH)), which makes it exact (Duane et al., Phys. Lett. B 195, 216,
    1987). Lattice units, periodic. Random numbers follow from `seed` and the number of the step.
    Derivatives are those of the path whose decisions are held fixed, not of expectations.
    Good values: m2 = 1, lambda = 0 (free: <phi^2> = 0.254174 at L = 8); m2 = -4, lambda = 1.
    """

    part: ClassVar[str] = "phi4/hybrid-monte-carlo"
    summary: ClassVar[str] = "lattice phi^4 fields by hybrid Monte Carlo"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("m2", "1", 1.0, -100.0, 100.0, "m^2, may be negative where lambda > 0"),
        Parameter("coupling", "1", 0.0, 0.0, 100.0, "lambda of phi^4"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("size", 8, summary="L, sites along an axis"),
        Setting("chains", 1, summary="independent fields"),
        Setting("leapfrogs", 8, summary="steps of a trajectory"),
        Setting("length", 1.0, summary="of a trajectory"),
        Setting("seed", 0, summary="of all random numbers"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (PHI2, MAGNETISATION, ACTION, ACCEPTED, PHI)
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1016/0370-2693(87)91197-X",)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[HybridMonteCarlo, State]:
        simulator = cls(**{"size": 4, "chains": 2, "coupling": 0.1, **values})
        return simulator, simulator.state()

    def state(self, sample: Sample | None = None) -> State:
        """A sample's field in every chain, or noise of variance 1/4."""
        shape = (self.chains, self.size, self.size)
        if sample is None:
            phi = 0.5 * self._noise(-1, shape)
        else:
            given = torch.from_numpy(sample.fields["phi4_field"].copy()).to(self.dtype)
            phi = given.reshape(1, self.size, self.size).expand(shape).clone()
        zero = torch.zeros((), dtype=torch.long)
        return State(phi, zero, torch.zeros(self.chains, dtype=torch.long))

    def _noise(self, step: int, shape: tuple[int, ...], uniform: bool = False) -> Tensor:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + 2 * (step + 1) + uniform)
        draw = torch.rand if uniform else torch.randn
        return draw(shape, generator=generator, dtype=torch.float64).to(self.dtype)

    def forward(self, state: State, steps: int = 1) -> State:
        phi, time, accepted = state
        h = self.length / self.leapfrogs
        for step in range(int(time), int(time) + steps):
            x, p = phi, self._noise(step, tuple(phi.shape)).to(phi)
            before = self._energy(x, p)
            p = p + 0.5 * h * drift(x, self.m2, self.coupling)
            for _ in range(self.leapfrogs - 1):
                x = x + h * p
                p = p + h * drift(x, self.m2, self.coupling)
            x = x + h * p
            p = p + 0.5 * h * drift(x, self.m2, self.coupling)
            luck = self._noise(step, (len(phi),), uniform=True).to(phi)
            good = luck.log() < before - self._energy(x, p)
            phi, accepted = torch.where(good[:, None, None], x, phi), accepted + good
        return State(phi, time + steps, accepted)

    def _energy(self, phi: Tensor, p: Tensor) -> Tensor:
        return action(phi, self.m2, self.coupling) + 0.5 * p.square().sum((-2, -1))

    def observe(self, state: State) -> dict[str, Tensor]:
        return {
            "phi_squared": state.phi.square().mean((-2, -1)),
            "magnetisation": state.phi.mean((-2, -1)),
            "phi4_action": action(state.phi, self.m2, self.coupling),
            "accepted": state.accepted / state.time.clamp(min=1),
            "phi4_field": state.phi,
        }
