"""Molecules on a line and how far their fields have come: the state of `dft/kohn-sham-1d`.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning
from sfm.units import factor
from sfm_dft.ladder import mixing
from sfm_dft.ladder.molecules import Molecules


@dataclass(frozen=True)
class LineState:
    """One molecule (no batch axis) or B of them, and how far their field has come.

    Attributes:
        positions: (..., A) bohr. charges: (..., A). electrons: (...) int64.
        field: density and what the mixing remembers, see `mixing.Field`.
    """

    positions: Float[Tensor, "*B A"]
    charges: Float[Tensor, "*B A"]
    electrons: Int[Tensor, "*B"]
    field: mixing.Field

    @property
    def converged(self) -> Bool[Tensor, "*B"]:
        return self.field.converged

    @property
    def time(self) -> Float[Tensor, "*B"]:
        """Cycles so far."""
        return self.field.cycle.to(torch.float64)


def flat_rows(value: Shaped[Tensor, " ..."], state: LineState) -> Shaped[Tensor, "B ..."]:
    """A tensor of a state, (..., n) -> (B, n) with one batch axis in front, in the same unit."""
    lead = state.electrons.dim()
    return value.reshape(-1, *value.shape[lead:])


def flat_molecules(molecules: Molecules) -> Molecules:
    """The same molecules, with one batch axis in front."""
    atoms = molecules.positions.shape[-1]
    return Molecules(
        molecules.positions.reshape(-1, atoms),
        molecules.charges.reshape(-1, atoms),
        molecules.electrons.reshape(-1),
    )


def molecules_of(sample: Sample, part: str) -> Molecules:
    """The nuclei of a sample along x, in bohr, and its electrons.

    Raises:
        InputError: periodic, no atoms, nuclei off the x axis, or a fractional charge.
    """
    if sample.pbc.any() or len(sample.positions) == 0 or (sample.types < 1).any():
        raise InputError(f"{sample.id}: {part} takes open molecules with atomic numbers")
    if abs(sample.positions[:, 1:]).max() > 1e-9:
        raise InputError(f"{sample.id}: {part} wants all nuclei on the x axis")
    charges = torch.as_tensor(sample.types, dtype=torch.float64)
    charge = float(sample.conditions.get("charge", 0.0))
    if not charge.is_integer():
        raise InputError(f"{sample.id}: charge {charge} is not a whole number")
    electrons = torch.tensor(int(charges.sum()) - int(charge))
    if sample.conditions.get("spin", 0.0) > electrons % 2:
        warnings.warn(
            f"{sample.id}: its spin is not used by {part}, whose levels hold two electrons each",
            InputWarning,
            stacklevel=4,
        )
    positions = torch.as_tensor(sample.positions[:, 0], dtype=torch.float64)
    return Molecules(positions * factor("angstrom", "bohr"), charges, electrons)
