"""What is read off the orbitals and the density of a molecule on a line."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.ladder.orbitals import Orbitals
from sfm_dft.ladder.problem import Problem


def line_observables(
    problem: Problem,
    orbitals: Orbitals,
    density: Float[Tensor, "B n"],
    kinetic: Float[Tensor, " B"],
) -> dict[str, Float[Tensor, "B ..."]]:
    """Energies and gap (B,) in hartree, and the density (B, n), which may carry a graph."""
    parts = problem.components(density, problem.repulsion())
    named = {f"{name}_energy_1d": value for name, value in parts.items()}
    return {
        "energy_1d": kinetic + sum(parts.values()),
        "kinetic_energy_1d": kinetic,
        **named,
        "density_1d": density,
        "gap_1d": _gap(orbitals),
    }


def _gap(orbitals: Orbitals) -> Tensor:
    """(B,) the first level with room minus the last with an electron; 0 for an odd one."""
    last = (orbitals.filling > 0).sum(-1) - 1
    first = (orbitals.filling == 2).sum(-1)
    at = torch.arange(len(last), device=last.device)
    return orbitals.levels[at, first] - orbitals.levels[at, last]
