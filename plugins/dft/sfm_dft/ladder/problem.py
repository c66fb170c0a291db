"""The Kohn-Sham problem of a batch of molecules on a grid: potential and energies of a density."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm_dft.ladder.grid import INTERACTIONS
from sfm_dft.ladder.molecules import Molecules
from sfm_dft.ladder.orbitals import Orbitals, lowest, occupations


@dataclass(frozen=True)
class Problem:
    """What the density moves in.

    Attributes:
        molecules: B of them. x: (n,) grid, bohr. dx: its spacing. bands: kinetic energy.
        interaction: name. amplitude, length: its parameters, scalar tensors.
        functional: (density (B, n), dx) -> exchange-correlation energy per length (B, n).
    """

    molecules: Molecules
    x: Float[Tensor, " n"]
    dx: float
    bands: Float[Tensor, "_ n"]
    interaction: str
    amplitude: Float[Tensor, ""]
    length: Float[Tensor, ""]
    functional: nn.Module

    def repel(self, distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Energy of two unit charges of one sign at a distance, hartree."""
        return INTERACTIONS[self.interaction](distance, self.amplitude, self.length)

    @property
    def external(self) -> Float[Tensor, "B n"]:
        """(B, n) potential of the nuclei, hartree."""
        distance = self.x - self.molecules.positions[..., None]
        return -(self.molecules.charges[..., None] * self.repel(distance)).sum(-2)

    @property
    def nuclear(self) -> Float[Tensor, " B"]:
        """(B,) repulsion of the nuclei, hartree."""
        r, z = self.molecules.positions, self.molecules.charges
        pair = z[..., :, None] * z[..., None, :] * self.repel(r[..., :, None] - r[..., None, :])
        return torch.triu(pair, diagonal=1).sum((-2, -1))

    def repulsion(self) -> Float[Tensor, "n n"]:
        """(n, n) interaction between grid points."""
        return self.repel(self.x[:, None] - self.x[None, :])

    def xc_energy(self, density: Float[Tensor, "B n"]) -> Float[Tensor, " B"]:
        """(B,) hartree."""
        energy: Tensor = self.functional(density, self.dx).sum(-1) * self.dx
        return energy

    def xc_potential(
        self, density: Float[Tensor, "B n"], *, create_graph: bool = False
    ) -> Float[Tensor, "B n"]:
        """(B, n) derivative of the energy by the density; keeps a graph if asked to."""
        with torch.enable_grad():
            follow = density.requires_grad and create_graph
            n = density if follow else density.detach().clone().requires_grad_()
            energy = self.xc_energy(n).sum()
            if not energy.requires_grad:
                return torch.zeros_like(density)
            (slope,) = torch.autograd.grad(energy, n, create_graph=create_graph)
        return slope / self.dx

    def potential(
        self, density: Float[Tensor, "B n"], repulsion: Float[Tensor, "n n"], *, graph: bool = False
    ) -> Float[Tensor, "B n"]:
        """(B, n) Kohn-Sham potential of a density, hartree."""
        hartree = density @ repulsion * self.dx
        return self.external + hartree + self.xc_potential(density, create_graph=graph)

    def orbitals(self, potential: Float[Tensor, "B n"], extra: int = 0) -> Orbitals:
        """Occupied orbitals of a potential, and `extra` empty ones; no graph."""
        electrons = self.molecules.electrons
        count = int((electrons.max() + 1) // 2) + extra
        levels, vectors = lowest(self.bands, potential.detach(), count)
        return Orbitals(levels, vectors, occupations(electrons, count), self.dx)

    def components(
        self, density: Float[Tensor, "B n"], repulsion: Float[Tensor, "n n"]
    ) -> dict[str, Float[Tensor, " B"]]:
        """(B,) the energies that are explicit functionals of the density, hartree."""
        return {
            "external": (self.external * density).sum(-1) * self.dx,
            "hartree": 0.5 * ((density @ repulsion) * density).sum(-1) * self.dx**2,
            "xc": self.xc_energy(density),
            "nuclear": self.nuclear,
        }
