"""Relaxation oscillators: Van der Pol and FitzHugh-Nagumo."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.simulate import Parameter, Setting
from sfm_dynamics.simulators.ode import Ode, settings
from sfm_dynamics.simulators.system import Values


class VanDerPol(Ode):
    """Van der Pol's oscillator, whose damping changes sign with the amplitude.

        dx/dt = v,   dv/dt = mu (1 - x^2) v - x

    Without unit. Good values: mu 1 (default) has a limit cycle of amplitude 2.0086 and period
    6.6633; the period tends to (3 - 2 ln 2) mu for large mu. From mu = 100 the system is stiff:
    method=radau.

    Limits: none of validity; explicit methods need dt of about 1/mu.

    Source: B. van der Pol, Phil. Mag. 2, 978 (1926).
    """

    part: ClassVar[str] = "dynamics/van-der-pol"
    summary: ClassVar[str] = "Van der Pol's oscillator with a limit cycle"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("mu", "1", 1.0, 0.0, 1e6, "strength of the damping; 1, stiff above 100"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = settings(0.02)
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1080/14786442608564127",)
    default_steps: ClassVar[int] = 1500
    variables: ClassVar[tuple[str, ...]] = ("x", "v")

    def start(self) -> tuple[float, ...]:
        return (2.0, 0.0)

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        u, v = x.unbind(-1)
        return torch.stack((v, p["mu"] * (1 - u * u) * v - u), -1)


class FitzHughNagumo(Ode):
    """The FitzHugh-Nagumo model of an excitable nerve membrane.

        dv/dt = v - v^3/3 - w + I,   dw/dt = epsilon (v + a - b w)

    v: membrane potential, w: recovery, without unit.

    Good values: a 0.7, b 0.8, epsilon 0.08 (the defaults) fire repeatedly for currents I between
    0.33 and 1.42; below, a push gives one spike. dt 0.1 for rk4.

    Limits: two variables stand for the four of Hodgkin and Huxley; there are no units of voltage.

    Source: R. FitzHugh, Biophys. J. 1, 445 (1961); J. Nagumo et al., Proc. IRE 50, 2061 (1962).
    """

    part: ClassVar[str] = "dynamics/fitzhugh-nagumo"
    summary: ClassVar[str] = "FitzHugh-Nagumo model of an excitable membrane"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("a", "1", 0.7, -10.0, 10.0, "offset of recovery; 0.7"),
        Parameter("b", "1", 0.8, -10.0, 10.0, "decay of recovery; 0.8"),
        Parameter("epsilon", "1", 0.08, 0.0, 10.0, "slowness of recovery; 0.08"),
        Parameter("current", "1", 0.5, -10.0, 10.0, "I; fires between 0.33 and 1.42"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = settings(0.1)
    citations: ClassVar[tuple[str, ...]] = (
        "doi:10.1016/S0006-3495(61)86902-6",
        "doi:10.1109/JRPROC.1962.288235",
    )
    default_steps: ClassVar[int] = 1500
    variables: ClassVar[tuple[str, ...]] = ("v", "w")

    def start(self) -> tuple[float, ...]:
        return (-1.0, 1.0)

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        v, w = x.unbind(-1)
        fast = v - v**3 / 3 - w + p["current"]
        return torch.stack((fast, p["epsilon"] * (v + p["a"] - p["b"] * w)), -1)
