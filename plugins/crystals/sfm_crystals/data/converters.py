"""Samples from and to ase.Atoms and pymatgen structures."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sfm.data.ase_atoms import along_axes, extras, said, stored_labels, write_to
from sfm.data.conditions import read_conditions
from sfm.data.isotopes import HYDROGENS
from sfm.data.label_names import with_recognised
from sfm.data.sample import Sample
from sfm.data.stated import stated_numbers
from sfm.errors import InputError, InputWarning, WrongDomain

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure
    from pymatgen.entries.computed_entries import ComputedStructureEntry

LABELS = ("energy", "forces", "stress")
SELECTIVE = "selective_dynamics"  # what pymatgen calls it


def from_ase(atoms: Atoms, *, name: str = "") -> Sample:
    """A sample of a periodic `ase.Atoms`; a calculator's stored results become labels.

    `atoms.info["level"]`, if there, is the labels' level of theory. Charge and spin, masses, fixed
    atoms and velocities go with it (`sfm.data.ase_atoms`).

    Raises:
        WrongDomain: it is periodic along no lattice vector.
        InputError: a dummy atom, a position that is not finite, or a cell of zero volume.
    """
    name = name or atoms.get_chemical_formula()
    if not atoms.pbc.any():
        raise WrongDomain(f"{name}: periodic along no lattice vector, so it is not a crystal")
    if len(atoms) == 0:
        raise InputError(f"{name}: holds no atoms")
    if (atoms.numbers == 0).any():
        row = int(np.flatnonzero(atoms.numbers == 0)[0])
        raise InputError(f"{name}: atom {row + 1} is of unknown element '{atoms.symbols[row]}'")
    check_finite(atoms.positions, name)
    level = atoms.info.get("level")
    labels = stored_labels(atoms, LABELS, name)
    sample = Sample(
        id=name,
        domain="crystals",
        level=None if level is None else str(level),
        positions=atoms.positions,
        types=atoms.numbers,
        cell=np.array(atoms.cell),
        pbc=atoms.pbc,
        labels=labels,
        extras=extras(atoms, labels),
        **said(atoms, name).changes(),
    )
    return with_recognised(sample, LABELS)


def check_finite(positions: Float[np.ndarray, "N 3"], name: str) -> None:
    """Raise an `InputError` that names the first coordinate that is not a finite number.

    positions: (N, 3), in any unit.
    """
    bad = np.argwhere(~np.isfinite(positions))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise InputError(
            f"{name}: atom {row + 1}, coordinate {'xyz'[column]} is not a finite number"
        )


def to_ase(sample: Sample) -> Atoms:
    """`ase.Atoms`; labels go into a `SinglePointCalculator`.

    Charge and spin go into `info`, masses, constraints and velocities where ASE has them.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    atoms = Atoms(
        numbers=sample.types, positions=sample.positions, cell=sample.cell, pbc=sample.pbc
    )
    write_to(atoms, sample)
    results: dict[str, Any] = {k: np.asarray(v) for k, v in sample.labels.items() if k in LABELS}
    if "stress" in results:
        results["stress"] = full_3x3_to_voigt_6_stress(results["stress"])
    if "energy" in results:
        results["energy"] = np.float64(results["energy"])
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    if sample.level:
        atoms.info["level"] = sample.level
    return atoms


def from_pymatgen(structure: Structure, *, name: str = "") -> Sample:
    """A sample of a pymatgen `Structure`. Oxidation states are left out.

    Numbers of its `properties` and of its sites become extras; an energy (eV), forces
    (eV/angstrom) and a stress (eV/angstrom^3) among them are labels.

    Raises:
        InputError: a site that is partly occupied, or holds no element; a label of another shape.
    """
    name = name or structure.composition.formula.replace(" ", "")
    types = []
    for number, site in enumerate(structure, 1):
        species = list(site.species.items())
        if len(species) != 1 or abs(species[0][1] - 1) > 1e-6:
            what = "is partly occupied" if float(site.species.num_atoms) <= 1 else "is overfull"
            raise InputError(
                f"{name}: site {number} {what} ({_contents(site)}), which is not supported; make "
                "an ordered cell of it first"
            )
        element = getattr(species[0][0], "element", species[0][0])
        if not hasattr(element, "Z") or not 1 <= element.Z <= 118:
            raise InputError(f"{name}: site {number} is of unknown element '{species[0][0]}'")
        types.append(int(element.Z))
    check_finite(structure.cart_coords, name)
    sites = {k: v for k, v in structure.site_properties.items() if k != SELECTIVE}
    sample = Sample(
        id=name,
        domain="crystals",
        positions=structure.cart_coords,
        types=np.array(types),
        cell=structure.lattice.matrix,
        pbc=np.array(structure.lattice.pbc),
        extras=stated_numbers({**structure.properties, **sites}),
        conditions=_structure_conditions(structure, np.array(types), name),
        masses=_isotopes(structure),
        fixed=_frozen(structure, name),
    )
    return with_recognised(sample, LABELS)


def from_entry(entry: ComputedStructureEntry) -> Sample:
    """A sample of a pymatgen `ComputedStructureEntry`: its structure and computed energy (eV).

    Corrections, which depend on the composition alone, are no part of what was computed: one line
    says that they are left out. Numbers of `data` become extras.

    Raises:
        InputError: as `from_pymatgen`.
    """
    name = str(entry.entry_id or "")
    sample = from_pymatgen(entry.structure, name=name)
    if entry.correction:
        warnings.warn(
            f"{sample.id}: the energy is without the entry's corrections "
            f"({entry.correction:+.4g} eV)",
            InputWarning,
            stacklevel=2,
        )
    energy = np.asarray(float(entry.uncorrected_energy))
    return sample.replace(
        labels={**sample.labels, "energy": energy},
        extras={**sample.extras, **stated_numbers(entry.data)},
    )


def _structure_conditions(structure: Structure, types: np.ndarray, name: str) -> dict[str, float]:
    """The charge that was given to the structure; that of its oxidation states is none."""
    charge = getattr(structure, "_charge", None)
    return {} if charge is None else read_conditions({"charge": charge}, types, name)


def _isotopes(structure: Structure) -> np.ndarray | None:
    """Masses (n,) in amu where hydrogen is deuterium or tritium."""
    elements = [getattr(site.specie, "element", site.specie) for site in structure]
    isotopes = [HYDROGENS.get(element.name.lower()) for element in elements]
    if not any(isotopes):
        return None
    pairs = zip(isotopes, elements, strict=True)
    return np.array([mass or float(element.atomic_mass) for mass, element in pairs])


def _frozen(structure: Structure, name: str) -> np.ndarray | None:
    """Coordinates that selective dynamics does not let move, (n, 3)."""
    flags = structure.site_properties.get(SELECTIVE)
    if flags is None:
        return None
    frozen = ~np.array([[True] * 3 if f is None else f for f in flags], dtype=bool)
    return along_axes(frozen, structure.lattice.matrix, name) if frozen.any() else None


def _contents(site: Any) -> str:
    """`K:0.5, Na:0.5`; pymatgen's own text of a site cannot show two whole atoms."""
    return ", ".join(f"{element}:{float(amount):g}" for element, amount in site.species.items())


def to_pymatgen(sample: Sample) -> Structure:
    """A pymatgen `Structure`, with its charge and selective dynamics.

    Raises:
        InputError: the sample has no cell.
    """
    from pymatgen.core import Lattice, Structure

    if sample.cell is None:
        raise InputError(f"{sample.id}: has no cell, so it makes no pymatgen Structure")
    a, b, c = (bool(p) for p in sample.pbc)
    lattice = Lattice(sample.cell, pbc=(a, b, c))
    properties = {}
    if sample.fixed is not None:
        frozen = along_axes(sample.fixed, sample.cell, sample.id)
        properties[SELECTIVE] = (~frozen).tolist()
    return Structure(
        lattice,
        sample.types.tolist(),
        sample.positions,
        charge=sample.conditions.get("charge"),
        coords_are_cartesian=True,
        site_properties=properties,
    )
