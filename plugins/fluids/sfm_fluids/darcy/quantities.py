"""Observables of Darcy flow besides the pore pressure."""

from __future__ import annotations

from sfm.quantity import Quantity

ALL = (
    Quantity("permeability", "1", per="grid", summary="a of -div(a grad p) = f"),
    Quantity("darcy_velocity", "1", "1o", "grid", summary="-a grad p, at cell centres"),
    Quantity("boundary_flow", "1", summary="flow out through left, right, bottom, top, (4,)"),
)
