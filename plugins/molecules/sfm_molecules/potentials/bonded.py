"""Force fields of bonds: sums of terms over atoms that are known by index.

A force field says which kinds of terms it has, which of them a molecule has (`terms`, by rdkit's
tables), and the energy of each kind; a batch of molecules is one list of every kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_molecules.constants import KCAL_PER_MOL

if TYPE_CHECKING:
    from rdkit.Chem import Mol

Row = tuple[tuple[int, ...], tuple[float, ...]]  # atoms of a term, its parameters
Table = tuple[np.ndarray, np.ndarray]  # atom indices (m, k) and parameters (m, p)
Terms = Mapping[str, Table]
Energy = Callable[[Tensor, Tensor], Tensor]  # positions (m, k, 3), parameters (m, p) -> (m,)


def pack(rows: Sequence[Row], atoms: int, parameters: int) -> Table:
    """Terms as arrays (m, atoms) of indices and (m, parameters), in the units of the rows."""
    index = np.array([row[0] for row in rows], dtype=np.int64).reshape(-1, atoms)
    return index, np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, parameters)


def refuse_missing_hydrogens(molecule: Mol) -> str:
    """The molecule's name for messages, if no hydrogen is missing.

    Raises:
        InputError: hydrogens are implicit.
    """
    name = molecule.GetProp("_Name") if molecule.HasProp("_Name") else "molecule"
    if any(atom.GetNumImplicitHs() for atom in molecule.GetAtoms()):
        raise InputError(f"{name}: hydrogens are missing; add them with rdkit.Chem.AddHs")
    return str(name)


class BondedField(nn.Module, ABC):
    """Energy of a batch of molecules, in eV.

    Class attributes:
        name: for messages.
        energies: by kind of term, from positions (m, k, 3) in angstrom and parameters (m, p) to
            (m,) kcal/mol.

    Args:
        molecules: rdkit molecules with explicit hydrogens, one per system of the batch and in its
            order; their conformers are not used.

    Raises:
        InputError: the field has no type for an atom, or hydrogens are missing.
    """

    name: ClassVar[str]
    energies: ClassVar[Mapping[str, Energy]]

    def __init__(self, molecules: Sequence[Mol]) -> None:
        super().__init__()
        self._set_up([m.GetNumAtoms() for m in molecules], [self.terms(m) for m in molecules])

    @classmethod
    @abstractmethod
    def terms(cls, molecule: Mol) -> Terms:
        """The terms of a molecule, by kind.

        Raises:
            InputError: the field has no type for an atom, or hydrogens are missing.
        """

    @classmethod
    def of_terms(cls, counts: Sequence[int], every: Sequence[Terms]) -> Self:
        """The force field of molecules with these numbers of atoms and these terms."""
        field = cls([])
        field._set_up(counts, every)
        return field

    def copies(self, count: int) -> Self:
        """The force field of `count` copies of its one molecule, for geometries of it.

        Raises:
            InputError: it has several molecules.
        """
        if len(self.counts) != 1:
            raise InputError(f"{self.name}: copies are of one molecule, not {len(self.counts)}")
        terms = {
            name: (
                getattr(self, f"{name}_atoms").cpu().numpy(),
                getattr(self, f"{name}_values").cpu().numpy(),
            )
            for name in self.energies
        }
        return self.of_terms(self.counts * count, [terms] * count)

    def _set_up(self, counts: Sequence[int], every: Sequence[Terms]) -> None:
        self.counts = list(counts)
        starts = np.cumsum([0, *self.counts[:-1]])
        for name in self.energies if every else ():
            self._keep(name, [one[name] for one in every], starts)

    def _keep(self, name: str, parts: Sequence[Table], starts: np.ndarray) -> None:
        """Register the terms of one kind, atom indices shifted to their place in the batch."""
        atoms = np.concatenate([part[0] + start for part, start in zip(parts, starts, strict=True)])
        system = np.concatenate([np.full(len(part[0]), s) for s, part in enumerate(parts)])
        values = np.concatenate([part[1] for part in parts])
        self.register_buffer(f"{name}_atoms", torch.from_numpy(atoms), persistent=False)
        self.register_buffer(f"{name}_system", torch.from_numpy(system).long(), persistent=False)
        self.register_buffer(f"{name}_values", torch.from_numpy(values), persistent=False)

    def forward(
        self, positions: Float[Tensor, "N 3"], types: Int[Tensor, " N"], system: Int[Tensor, " N"]
    ) -> Float[Tensor, " S"]:
        """Energies (S,) in eV.

        Args:
            positions: (N, 3), angstrom.
            types: (N,) atomic numbers; not used, the molecules fix them.
            system: (N,) index of each atom's system.

        Raises:
            InputError: the number of atoms is not that of the molecules.
        """
        if positions.shape[0] != sum(self.counts):
            raise InputError(
                f"{self.name} was set up for {sum(self.counts)} atoms, given {positions.shape[0]}"
            )
        total = positions.new_zeros(len(self.counts))
        for name in self.energies:
            energy = self.term(name, positions)
            total = total.index_add(0, getattr(self, f"{name}_system"), energy)
        return total * KCAL_PER_MOL

    def term(self, name: str, positions: Float[Tensor, "N 3"]) -> Float[Tensor, " m"]:
        """Energies (m,) in kcal/mol of one kind of term: `bonds`, `angles`, ..."""
        atoms = getattr(self, f"{name}_atoms")
        values = getattr(self, f"{name}_values").to(positions.dtype)
        return self.energies[name](positions[atoms], values)
