"""The coarse grid of the bundled two-dimensional sets, and the force that a flow on it feels.

Units are those of the data: lengths of a box of 2 pi, forces of amplitude 1.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm_fluids.flows.members import FLOWS, Member, curl_of_force
from sfm_fluids.spectral.filters import Filter
from sfm_fluids.spectral.grid_2d import Grid, velocity

COARSE = Grid(32, 32)
FILTER_WIDTH = 3 * COARSE.isotropic_spacing


def member_of(name: str) -> Member:
    """The flow of a trajectory or row: `re125-ring-902`, `re125-ring-902-003`.

    Raises:
        InputError: no name of the bundled sets.
    """
    try:
        _, kind, seed = name.split("-")[:3]
        member = Member(kind, int(seed))
    except ValueError:
        member = None
    if member is None or member.kind not in FLOWS:
        raise InputError(f"{name}: not a row of turbulence-2d, whose force is known")
    return member


def filtered_curl(member: Member) -> Float[Tensor, "32 32"]:
    """Curl (32, 32) of F[f], f the member's force and F the filter of the data."""
    return Filter(COARSE, COARSE, FILTER_WIDTH)(curl_of_force(member, COARSE))


def filtered_force(member: Member) -> Float[Tensor, "2 32 32"]:
    """F[f], (2, 32, 32): free of divergence, as its curl says."""
    return velocity(filtered_curl(member), COARSE)
