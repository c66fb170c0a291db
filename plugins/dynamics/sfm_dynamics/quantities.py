"""Quantities of dynamical systems besides the core's energy and forces. No heavy imports."""

from __future__ import annotations

from sfm.quantity import Quantity

STATE = Quantity("state", "1", summary="variables of a dynamical system, in the system's own units")
RATE = Quantity("rate", "1", per="token", summary="time derivative of each variable of a state")
HAMILTONIAN = Quantity("hamiltonian", "1", summary="Hamilton's function in reduced units")
LAGRANGIAN = Quantity("lagrangian", "1", summary="Lagrange's function in reduced units")
BODY_KINETIC_ENERGY = Quantity(
    "body_kinetic_energy", "eV", extensive=True, summary="kinetic energy of moving bodies"
)
BODY_TOTAL_ENERGY = Quantity(
    "body_total_energy",
    "eV",
    extensive=True,
    summary="potential and kinetic energy of bodies; constant under Newton's equations",
)
ANGULAR_MOMENTUM = Quantity(
    "angular_momentum", "amu*angstrom**2/fs", "1e", summary="total angular momentum about the mean"
)
MISMATCH = Quantity(
    "terminal_mismatch", "1", summary="value of a backward equation less the one wanted at the end"
)
RESIDUAL = Quantity("residual", "1", summary="root mean square of dx/dt - f(x), relative to x")
FIXED_POINT = Quantity("fixed_point", "1", summary="solution of x = g(x)")
FIXED_POINT_RESIDUAL = Quantity(
    "fixed_point_residual", "1", summary="largest component of g(x) - x"
)

ALL = (
    STATE,
    RATE,
    HAMILTONIAN,
    LAGRANGIAN,
    BODY_KINETIC_ENERGY,
    BODY_TOTAL_ENERGY,
    ANGULAR_MOMENTUM,
    MISMATCH,
    RESIDUAL,
    FIXED_POINT,
    FIXED_POINT_RESIDUAL,
)
