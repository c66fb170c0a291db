"""Classical descriptors of crystals: statistics of elemental properties, and of the cell.

After Magpie (Ward, Agrawal, Choudhary and Wolverton, npj Comput. Mater. 2, 16028 (2016)): of each
tabulated property of the elements, the mean over the atoms, its mean absolute deviation, smallest,
largest, and range. The table is pymatgen's. Beside them stand the volume per atom, the density, the
packing of atomic spheres and the nearest-neighbour distances.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from sfm.data.neighbours import neighbour_list
from sfm.data.sample import Sample

PROPERTIES = (
    "Z",
    "row",
    "group",
    "X",
    "mendeleev_no",
    "atomic_mass",
    "atomic_radius",
    "van_der_waals_radius",
    "melting_point",
    "boiling_point",
    "molar_volume",
    "density_of_solid",
    "bulk_modulus",
    "youngs_modulus",
    "thermal_conductivity",
    "ionization_energy",
    "electron_affinity",
    "valence_s",
    "valence_p",
    "valence_d",
    "valence_f",
)
RANGE = 6.0  # angstrom, of the neighbours that are looked at
ATOMIC_MASS_DENSITY = 1.66053906892  # g/cm^3 of one dalton per cubic angstrom (CODATA 2022)


@cache
def _element(z: int) -> np.ndarray:
    """(properties,) of an element; NaN where pymatgen has none."""
    import warnings

    from pymatgen.core import Element

    element = Element.from_Z(z)
    filling = dict.fromkeys("spdf", 0)
    for part in element.electronic_structure.split("."):
        if not part.startswith("["):
            filling[part[1]] += int(part[2:])
    values = []
    for name in PROPERTIES:
        if name.startswith("valence_"):
            values.append(float(filling[name[-1]]))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                value = getattr(element, name)
                values.append(np.nan if value is None else float(value))
            except (AttributeError, TypeError, ValueError, KeyError):
                values.append(np.nan)
    return np.array(values)


def elemental(sample: Sample) -> dict[str, float]:
    """Statistics of the elements' properties over the atoms, and what the cell says."""
    if not len(sample.types):
        return {}
    table = np.stack([_element(int(z)) for z in sample.types])
    numbers: dict[str, float] = {}
    for name, column in zip(PROPERTIES, table.T, strict=True):
        known = column[np.isfinite(column)]
        if not len(known):
            continue
        mean = known.mean()
        numbers[f"{name} mean"] = mean
        numbers[f"{name} deviation"] = np.abs(known - mean).mean()
        numbers[f"{name} smallest"] = known.min()
        numbers[f"{name} largest"] = known.max()
        numbers[f"{name} range"] = known.max() - known.min()
    _, counts = np.unique(sample.types, return_counts=True)
    shares = counts / counts.sum()
    numbers["elements"] = float(len(counts))
    numbers["mixing entropy"] = float(-(shares * np.log(shares)).sum())
    for power in (2, 3):
        numbers[f"shares, norm {power}"] = float((shares**power).sum() ** (1 / power))
    return numbers | _cell(sample, table)


def _cell(sample: Sample, table: np.ndarray) -> dict[str, float]:
    if sample.cell is None or not sample.pbc.all():
        return {}
    volume = abs(float(np.linalg.det(sample.cell)))
    mass, radius = (table[:, PROPERTIES.index(n)] for n in ("atomic_mass", "atomic_radius"))
    numbers = {
        "volume per atom": volume / len(sample.types),
        "log volume per atom": float(np.log(volume / len(sample.types))),
        "density": ATOMIC_MASS_DENSITY * float(mass.sum()) / volume,
        "packing": 4 / 3 * np.pi * float(np.nansum(radius**3)) / volume,
    }
    edges, shifts = neighbour_list(sample.positions, RANGE, sample.cell, sample.pbc)
    if not edges.shape[1]:
        return numbers
    sender, receiver = edges
    vectors = sample.positions[sender] - sample.positions[receiver] + shifts @ sample.cell
    lengths = np.linalg.norm(vectors, axis=1)
    nearest = np.full(len(sample.types), np.inf)
    np.minimum.at(nearest, receiver, lengths)
    bonded = np.isfinite(nearest)
    # a smooth count of neighbours near the nearest distance
    count = np.zeros(len(sample.types))
    np.add.at(count, receiver, np.exp(-(((lengths / nearest[receiver] - 1) / 0.2) ** 2)))
    electronegativity = table[:, PROPERTIES.index("X")]
    contrast = np.abs(electronegativity[sender] - electronegativity[receiver])
    weight = np.exp(-(((lengths / nearest[receiver] - 1) / 0.2) ** 2))
    numbers |= {
        "nearest distance mean": float(nearest[bonded].mean()),
        "nearest distance smallest": float(nearest[bonded].min()),
        "nearest distance deviation": float(
            np.abs(nearest[bonded] - nearest[bonded].mean()).mean()
        ),
        "neighbours mean": float(count.mean()),
        "neighbours deviation": float(np.abs(count - count.mean()).mean()),
        "electronegativity contrast of neighbours": float(
            np.nansum(weight * contrast) / np.sum(weight[np.isfinite(contrast)])
        ),
    }
    return numbers
