"""A batch of periodic cells, its deformations, and the derivatives of an energy in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.simulate.dynamics.neighbours import full_list

EnergyFunction = Callable[["Cells"], Float[Tensor, " S"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """S cells, periodic in three directions, with N atoms in all, one cell after another.

    Attributes:
        positions: (N, 3) angstrom; need not lie inside the cell.
        types: (N,) int64 atomic numbers.
        cell: (S, 3, 3) angstrom, rows are lattice vectors.
        system: (N,) int64 index of the cell that an atom belongs to, ascending.
        free: (N, 3), 0 where a coordinate is fixed and 1 elsewhere; None: all are free. What is
            fixed goes with the lattice where that changes: its fractional coordinates stay.
        samples: what the cells were made of; their charge, masses and the like go to files.
    """

    positions: Float[Tensor, "N 3"]
    types: Int[Tensor, " N"]
    cell: Float[Tensor, "S 3 3"]
    system: Int[Tensor, " N"]
    free: Float[Tensor, "N 3"] | None = None
    samples: tuple[Sample, ...] = ()

    @staticmethod
    def of(systems: Systems) -> Cells:
        """Of systems that are periodic in three directions."""
        x, cell, types, system, _ = systems
        return Cells(positions=x, types=types, cell=cell, system=system)

    @property
    def n_systems(self) -> int:
        return self.cell.shape[0]

    def counts(self) -> Int[Tensor, " S"]:
        """(S,) atoms of each cell."""
        return torch.bincount(self.system, minlength=self.n_systems)

    def volume(self) -> Float[Tensor, " S"]:
        """(S,) angstrom^3."""
        size: Tensor = torch.linalg.det(self.cell).abs()
        return size

    def deformed(self, displacement: Float[Tensor, "N 3"], strain: Float[Tensor, "S 3 3"]) -> Cells:
        """x -> (x + displacement) (1 + strain), h -> h (1 + strain); the strain is symmetrised.

        Args:
            displacement: (N, 3) angstrom, of the undeformed atoms.
            strain: (S, 3, 3).
        """
        identity = torch.eye(3, dtype=strain.dtype, device=strain.device)
        deformation = identity + (strain + strain.mT) / 2
        moved = (self.positions + displacement).unsqueeze(1) @ deformation[self.system]
        return dataclasses.replace(self, positions=moved.squeeze(1), cell=self.cell @ deformation)

    def stretched(self, factor: float) -> Cells:
        """All lengths times `factor`; atoms keep their fractional coordinates."""
        identity = torch.eye(3, dtype=self.cell.dtype, device=self.cell.device)
        strain = ((factor - 1) * identity).expand_as(self.cell)
        return self.deformed(torch.zeros_like(self.positions), strain)

    def detached(self) -> Cells:
        """The same cells without a graph."""
        return Cells(
            positions=self.positions.detach(),
            types=self.types,
            cell=self.cell.detach(),
            system=self.system,
            free=self.free,
            samples=self.samples,
        )

    def moving(self, displacement: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """A displacement or force (N, 3) without what is fixed."""
        return displacement if self.free is None else displacement * self.free.to(displacement)

    def pinned(self) -> Bool[Tensor, "S 3"]:
        """(S, 3) whether any atom of a cell is fixed along x, y, z."""
        if self.free is None:
            return torch.zeros_like(self.cell[:, 0]).bool()
        fixed = torch.zeros_like(self.cell[:, 0]).index_add(0, self.system, 1 - self.free)
        return fixed > 0


@dataclass(frozen=True, eq=False)
class Bonds:
    """Directed pairs inside a cutoff.

    Attributes:
        sender, receiver: (E,) indices of atoms; sorted by receiver.
        vectors: (E, 3) angstrom, from the receiver to the sender's image; differentiable.
    """

    sender: Int[Tensor, " E"]
    receiver: Int[Tensor, " E"]
    vectors: Float[Tensor, "E 3"]

    def lengths(self) -> Float[Tensor, " E"]:
        """(E,) angstrom."""
        distance: Tensor = torch.linalg.vector_norm(self.vectors, dim=1)
        return distance


def image_pairs(cells: Cells, cutoff: float) -> tuple[Int[Tensor, "2 E"], Float[Tensor, "E 3"]]:
    """All pairs closer than `cutoff` angstrom, periodic images included.

    Returns:
        edges: (2, E) [sender, receiver], sorted by receiver.
        shifts: (E, 3) image of the sender in cells, in the positions' dtype.
    """
    periodic = torch.ones(cells.n_systems, dtype=torch.bool)
    return full_list(cells.positions, cells.cell, periodic, cells.system, cutoff)


def bonds(cells: Cells, cutoff: float) -> Bonds:
    """`image_pairs` with differentiable vectors."""
    (sender, receiver), shift = image_pairs(cells, cutoff)
    image = torch.einsum("ei,eij->ej", shift, cells.cell[cells.system[receiver]])
    vectors = cells.positions[sender] + image - cells.positions[receiver]
    return Bonds(sender, receiver, vectors)


def derivatives(
    energy: EnergyFunction, cells: Cells, *, create_graph: bool = False
) -> tuple[Float[Tensor, " S"], Float[Tensor, "N 3"], Float[Tensor, "S 3 3"]]:
    """Energy, forces and stress of each cell.

    f = -dE/dx and sigma = (1/V) dE/dstrain at fixed fractional coordinates (positive in tension).

    Args:
        energy: (S,) eV of cells.
        cells: where.
        create_graph: keep the graph, so that the results can be differentiated again.

    Returns:
        (S,) eV, (N, 3) eV/angstrom, (S, 3, 3) eV/angstrom^3.
    """
    with torch.enable_grad():
        displacement = torch.zeros_like(cells.positions, requires_grad=True)
        strain = torch.zeros_like(cells.cell, requires_grad=True)
        value = energy(cells.deformed(displacement, strain))
        along_atoms, along_strain = torch.autograd.grad(
            value.sum(), (displacement, strain), create_graph=create_graph, materialize_grads=True
        )
        stress = along_strain / cells.volume()[:, None, None]
    if not create_graph:
        return value.detach(), -along_atoms.detach(), stress.detach()
    return value, -along_atoms, stress
