"""Measured formation energies, joined to crystals of the Materials Project; these are held out.

`pymatgen/analysis/compatibility/exp_compounds.json.gz` of pymatgen (MIT): 2,135 compounds with a
calorimetric formation energy in eV per formula unit, its uncertainty where known, and the
identifier of the matching crystal.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sfm_crystals.data.materials_project import Crystal

PACKAGE, VERSION, SHA256 = "pymatgen", "2026.10.24", "bd341f2e0550ec38"
MEMBER = "pymatgen/analysis/compatibility/exp_compounds.json.gz"


@dataclass(frozen=True)
class Experiment:
    """A measurement.

    Attributes:
        crystal: identifier of the matching crystal.
        formation_energy: eV per atom.
        uncertainty: eV per atom, None where the source gives none.
    """

    crystal: str
    formation_energy: float
    uncertainty: float | None


def read_experiments(content: bytes) -> list[Experiment]:
    """Compounds with an identifier. Energies per formula unit are divided by its atoms."""
    from ase.formula import Formula

    experiments = []
    for row in json.loads(gzip.decompress(content)):
        if not row["mpid"]:
            continue
        atoms = sum(Formula(row["formula"]).count().values())
        sigma = row["uncertainty"]
        known = sigma is not None and math.isfinite(sigma)
        experiments.append(
            Experiment(row["mpid"], row["exp energy"] / atoms, sigma / atoms if known else None)
        )
    return experiments


def join(
    crystals: Sequence[Crystal], experiments: Sequence[Experiment]
) -> list[tuple[Crystal, Experiment]]:
    """Crystals with a measurement, in the crystals' order, one measurement for each."""
    by_id = {e.crystal: e for e in experiments}
    return [(c, by_id[c.id]) for c in crystals if c.id in by_id]


def training_crystals(
    crystals: Sequence[Crystal], experiments: Sequence[Experiment]
) -> list[Crystal]:
    """Crystals of compounds that are not held out: neither a held-out crystal nor a polymorph."""
    held_out = {crystal.formula for crystal, _ in join(crystals, experiments)}
    return [c for c in crystals if c.formula not in held_out]
