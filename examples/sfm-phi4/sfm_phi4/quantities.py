"""What is measured; lattice units, so all are numbers."""

from __future__ import annotations

from sfm.quantity import Quantity

PHI = Quantity("phi4_field", "1", per="grid", summary="the field on the sites of the lattice")
ACTION = Quantity("phi4_action", "1", extensive=True, summary="Euclidean action of a field")
DRIFT = Quantity("phi4_drift", "1", per="token", summary="-dS/dphi at a site")
PHI2 = Quantity("phi_squared", "1", summary="mean of phi^2 over sites")
MAGNETISATION = Quantity("magnetisation", "1", summary="mean of phi over sites")
ACCEPTED = Quantity("accepted", "1", summary="share of trajectories that were accepted")
ALL = (PHI, ACTION, DRIFT, PHI2, MAGNETISATION, ACCEPTED)
