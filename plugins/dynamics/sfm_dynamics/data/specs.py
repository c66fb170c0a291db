"""What the datasets of this plugin are. No heavy imports."""

from __future__ import annotations

from sfm.data.spec import DatasetSpec

HOOKE, NEWTON = "Hooke", "Newton"
SYSTEMS = {
    "mass-spring": "Mass on a spring",
    "pendulum": "Pendulum",
    "double-pendulum": "Double pendulum",
    "two-body": "Two bodies",
    "three-body": "Three bodies",
    "henon-heiles": "Henon-Heiles",
    "kepler": "Kepler",
    "lotka-volterra": "Lotka-Volterra",
    "lorenz-63": "Lorenz 63",
    "lorenz-96": "Lorenz 96",
    "van-der-pol": "Van der Pol",
    "fitzhugh-nagumo": "FitzHugh-Nagumo",
    "robertson": "Robertson",
    "ornstein-uhlenbeck": "Ornstein-Uhlenbeck",
    "geometric-brownian-motion": "Geometric Brownian motion",
}
"""Level of theory of the rates of each simulator's trajectories."""

CIRCLES = {
    "stochastic-heat": "Stochastic heat equation",
    "stochastic-burgers": "Stochastic Burgers equation",
    "stochastic-allen-cahn": "Stochastic Allen-Cahn equation",
}
"""Level of theory of the rates of each simulator's fields."""

TRAJECTORIES = DatasetSpec(
    name="dynamics-trajectories",
    domain="dynamics",
    summary="states and rates along trajectories of fifteen systems, at three noise levels",
    quantities=("rate",),
    levels=tuple(SYSTEMS.values()),
    licence="CC0-1.0",
    origin="integrated by the simulators of this plugin at their default parameters",
    citation=("Sources of the systems: `sfm simulate dynamics/lorenz-63 --describe`, and so on",),
    encoder="dynamics/variables",
)

BODIES = DatasetSpec(
    name="dynamics-bodies",
    domain="dynamics",
    summary="two and three bodies in space under springs and under gravity, with energy and forces",
    quantities=("energy", "forces"),
    levels=(HOOKE, NEWTON),
    licence="CC0-1.0",
    origin="integrated by dynamics/bodies",
    citation=("Goldstein, Classical Mechanics, 3rd ed. (2002)",),
    encoder="dynamics/bodies",
)

FIELDS = DatasetSpec(
    name="dynamics-fields",
    domain="dynamics",
    summary="fields on a circle under white noise of three strengths: heat, Burgers, Allen-Cahn",
    quantities=("rate",),
    levels=tuple(CIRCLES.values()),
    licence="CC0-1.0",
    origin="integrated by the simulators of this plugin at their default parameters",
    citation=("Jentzen, Kloeden, Proc. R. Soc. A 465, 649 (2009)",),
    encoder="dynamics/circle",
)
