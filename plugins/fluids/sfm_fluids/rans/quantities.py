"""Observables of averaged channel flow, in wall units."""

from __future__ import annotations

from sfm.quantity import Quantity

ALL = (
    Quantity("wall_distance", "1", per="grid", summary="y+ = y u_tau / nu of a channel's nodes"),
    Quantity("velocity_profile", "1", per="grid", summary="U+ = U / u_tau, averaged over time"),
    Quantity("turbulent_viscosity", "1", per="grid", summary="nu_t / nu"),
    Quantity("viscous_shear_stress", "1", per="grid", summary="dU+/dy+, in wall stresses"),
    Quantity("reynolds_shear_stress", "1", per="grid", summary="-<u'v'> / u_tau^2"),
    Quantity("turbulent_kinetic_energy", "1", per="grid", summary="k / u_tau^2"),
    Quantity("turbulent_dissipation", "1", per="grid", summary="epsilon nu / u_tau^4"),
    Quantity("bulk_velocity", "1", summary="velocity averaged over the section, in u_tau"),
    Quantity("friction_coefficient", "1", summary="wall stress over rho U_bulk^2 / 2"),
)
