"""The dynamics plugin: differential equations, solved and discovered. No heavy imports.

Rooms, lowest first; each imports only rooms before it:

    quantities, figures, series    what is measured; pictures of runs; tables of times and variables
    polynomials, minimise          right-hand sides as people write them; L-BFGS
    pinn                           solutions as networks that are trained on the residual
    simulators                     the methods, and `dynamics/lorenz-63` to `dynamics/bodies`
    discovery                      equations from series: `dynamics/sindy`
    data                           specs and builders, which run the simulators
    model                          encoders, closure, networks, metrics
"""

from __future__ import annotations

from sfm.plugin import Plugin
from sfm_dynamics.quantities import ALL

_SIMULATORS = "sfm_dynamics.simulators"

plugin = Plugin(
    name="dynamics",
    domain="dynamics",
    summary="ordinary, Hamiltonian and stochastic differential equations, solved and discovered",
    datasets={
        "dynamics-trajectories": "sfm_dynamics.data.specs:TRAJECTORIES",
        "dynamics-bodies": "sfm_dynamics.data.specs:BODIES",
        "dynamics-fields": "sfm_dynamics.data.specs:FIELDS",
    },
    simulators={
        "bodies": f"{_SIMULATORS}.bodies:BodiesInSpace",
        "mass-spring": f"{_SIMULATORS}.mechanics:MassSpring",
        "pendulum": f"{_SIMULATORS}.mechanics:Pendulum",
        "double-pendulum": f"{_SIMULATORS}.mechanics:DoublePendulum",
        "spring-pendulum": f"{_SIMULATORS}.mechanics:SpringPendulum",
        "bouncing-ball": f"{_SIMULATORS}.contact:BouncingBall",
        "henon-heiles": f"{_SIMULATORS}.mechanics:HenonHeiles",
        "kepler": f"{_SIMULATORS}.gravity:Kepler",
        "two-body": f"{_SIMULATORS}.gravity:TwoBody",
        "three-body": f"{_SIMULATORS}.gravity:ThreeBody",
        "hamiltonian": f"{_SIMULATORS}.learned:LearnedHamiltonian",
        "lagrangian": f"{_SIMULATORS}.lagrangian:LearnedLagrangian",
        "lotka-volterra": f"{_SIMULATORS}.reactions:LotkaVolterra",
        "robertson": f"{_SIMULATORS}.reactions:Robertson",
        "lorenz-63": f"{_SIMULATORS}.chaos:Lorenz63",
        "lorenz-96": f"{_SIMULATORS}.chaos:Lorenz96",
        "van-der-pol": f"{_SIMULATORS}.oscillators:VanDerPol",
        "fitzhugh-nagumo": f"{_SIMULATORS}.oscillators:FitzHughNagumo",
        "neural-ode": f"{_SIMULATORS}.learned:NeuralOde",
        "universal-ode": f"{_SIMULATORS}.universal:UniversalOde",
        "pinn": f"{_SIMULATORS}.informed:Informed",
        "ornstein-uhlenbeck": f"{_SIMULATORS}.sde:OrnsteinUhlenbeck",
        "geometric-brownian-motion": f"{_SIMULATORS}.sde:GeometricBrownianMotion",
        "stochastic-heat": f"{_SIMULATORS}.spde:StochasticHeat",
        "stochastic-burgers": f"{_SIMULATORS}.spde:StochasticBurgers",
        "stochastic-allen-cahn": f"{_SIMULATORS}.spde:StochasticAllenCahn",
        "deep-bsde": f"{_SIMULATORS}.backward:DeepBsde",
        "equilibrium": f"{_SIMULATORS}.equilibrium:Equilibrium",
    },
    encoders={
        "variables": "sfm_dynamics.model.encoders:VariableEncoder",
        "bodies": "sfm_dynamics.model.encoders:BodyEncoder",
        "circle": "sfm_dynamics.model.circle:CircleEncoder",
    },
    heads={
        "energy": "sfm.nn.head:ScalarSum",
        "rate": "sfm.nn.head:TokenScalar",
    },
    discoverers={"sindy": "sfm_dynamics.discovery.report:discover_file"},
    metrics={"rate.relative_error": "sfm_dynamics.model.metrics:relative_error"},
    quantities=ALL,
    citations=(
        "arXiv:1806.07366",  # neural ordinary differential equations
        "arXiv:1906.01563",  # Hamiltonian neural networks
        "arXiv:2003.04630",  # Lagrangian neural networks
        "arXiv:2001.04385",  # universal differential equations
        "doi:10.1016/j.jcp.2018.10.045",  # physics-informed networks
        "arXiv:1706.04702",  # deep BSDE
        "arXiv:1909.01377",  # deep equilibrium layers
        "doi:10.1016/0771-050X(80)90013-3",  # Dormand and Prince
        "doi:10.1016/0375-9601(90)90092-3",  # Yoshida
        "doi:10.1098/rspa.2008.0325",  # exponential Euler steps of stochastic partial equations
        "doi:10.1007/978-3-642-05221-7",  # Hairer and Wanner
        "doi:10.1073/pnas.1517384113",  # SINDy
    ),
    requires=("torchdiffeq",),
)
