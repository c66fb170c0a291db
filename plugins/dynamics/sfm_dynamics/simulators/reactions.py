"""Populations and reacting species: Lotka-Volterra and Robertson."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.simulate import Parameter, Setting
from sfm_dynamics.simulators.ode import Ode, settings
from sfm_dynamics.simulators.system import State, Values


class LotkaVolterra(Ode):
    """Prey and predator.

        dN/dt = alpha N - beta N P,   dP/dt = delta N P - gamma P

    N, P: numbers in any one unit (thousands of pelts for `hare-lynx`); time in years. Without a
    closure V = delta N - gamma ln N + beta P - alpha ln P is constant. A closure adds to the rates:
    with beta = delta = 0 it stands for the whole interaction.

    Good values: the defaults are those that C. Carpenter's Stan case study found for the pelts of
    the Hudson's Bay Company, 1900 to 1920. dt 0.05 for rk4.

    Limits: prey grows without bound where there are no predators.

    Source: A. J. Lotka, PNAS 6, 410 (1920); V. Volterra, Nature 118, 558 (1926).
    """

    part: ClassVar[str] = "dynamics/lotka-volterra"
    summary: ClassVar[str] = "predator and prey"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("alpha", "1/year", 0.55, 0.0, 100.0, "growth of the prey; 0.55"),
        Parameter("beta", "1/year", 0.028, 0.0, 100.0, "prey eaten per predator; 0.028"),
        Parameter("gamma", "1/year", 0.80, 0.0, 100.0, "death of the predators; 0.8"),
        Parameter("delta", "1/year", 0.024, 0.0, 100.0, "predators born per prey; 0.024"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = settings(0.05, "year")
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1073/pnas.6.7.410", "doi:10.1038/118558a0")
    time_unit: ClassVar[str] = "year"
    default_steps: ClassVar[int] = 400
    variables: ClassVar[tuple[str, ...]] = ("prey", "predator")

    def start(self) -> tuple[float, ...]:
        return (33.956, 5.933)

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        n, m = x.unbind(-1)
        meet = n * m
        return torch.stack(
            (p["alpha"] * n - p["beta"] * meet, p["delta"] * meet - p["gamma"] * m), -1
        )


class Robertson(Ode):
    """Robertson's stiff reaction network.

        A -> B (k1),   B + B -> C + B (k2),   B + C -> A + C (k3)
        dA/dt = -k1 A + k3 B C,   dB/dt = k1 A - k3 B C - k2 B^2,   dC/dt = k2 B^2

    Mole fractions, time in seconds; A + B + C is constant. Rates span nine orders of magnitude.

    Good values: k1 0.04, k2 3e7, k3 1e4 (the defaults), method=radau (the default), dt as long as
    the output wants: t = 40 s gives A 0.7158270688, B 9.185534765e-6, C 0.2841637457.

    Limits: explicit methods need dt below 1e-3 s; radau's steps carry no gradient themselves.

    Source: H. H. Robertson (1966); reference values: E. Hairer and G. Wanner, Solving ODEs II
    (1996), and the test set for initial value problem solvers.
    """

    part: ClassVar[str] = "dynamics/robertson"
    summary: ClassVar[str] = "Robertson's stiff reaction network"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("k1", "1/s", 0.04, 0.0, 1e6, "slow decay of A; 0.04"),
        Parameter("k2", "1/s", 3e7, 0.0, 1e12, "very fast reaction of B with itself; 3e7"),
        Parameter("k3", "1/s", 1e4, 0.0, 1e12, "fast return of B to A; 1e4"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = settings(0.4, "s", method="radau")
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1007/978-3-642-05221-7",)
    time_unit: ClassVar[str] = "s"
    order: ClassVar[tuple[str, int] | None] = None
    default_steps: ClassVar[int] = 100
    variables: ClassVar[tuple[str, ...]] = ("a", "b", "c")

    def start(self) -> tuple[float, ...]:
        return (1.0, 0.0, 0.0)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Ode, State]:
        """Rates of similar size, so that differences of derivatives can be taken."""
        mild = {"k1": 0.5, "k2": 2.0, "k3": 1.5, "dt": 0.2, "method": "radau5"}
        simulator = cls(**{**mild, **values})
        return simulator, simulator.at(torch.tensor([0.7, 0.2, 0.1]))

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        a, b, c = x.unbind(-1)
        first, second, third = p["k1"] * a, p["k2"] * b * b, p["k3"] * b * c
        return torch.stack((third - first, first - third - second, second), -1)
