"""The datasets of this plugin. No heavy imports."""

from __future__ import annotations

from sfm.data.spec import DatasetSpec

PBE = "PBE/def2-SVP"
LDA = "LDA/def2-SVP"
LDA_ON_PBE = "LDA@PBE/def2-SVP"
R2SCAN_ON_PBE = "r2SCAN@PBE/def2-SVP"
B3LYP_ON_PBE = "B3LYP@PBE/def2-SVP"
EXPERIMENT = "experiment"
ATCT = "ATcT 1.112"
EXACT_1D = "exact, exponential interaction"

DFT_SMALL = DatasetSpec(
    name="dft-small",
    domain="dft",
    summary="molecules of H, C, N, O, F with up to 8 atoms: Kohn-Sham energies and densities",
    quantities=(
        "energy",
        "kinetic_energy",
        "external_energy",
        "hartree_energy",
        "xc_energy",
        "xc_correction",
        "dipole",
        "homo",
        "lumo",
        "density_coefficients",
        "density_projections",
    ),
    levels=(PBE, LDA),
    licence="CC0-1.0 (labels and geometries); SMILES from robocrys, modified BSD",
    origin="SMILES of robocrys 0.2.13; geometries rdkit and GFN2-xTB; labels PySCF 2.14.0",
    citation=(
        "Ganose, Jain, MRS Commun. 9, 874 (2019), doi:10.1557/mrc.2019.94",
        "Sun et al., J. Chem. Phys. 153, 024109 (2020), doi:10.1063/5.0006074",
    ),
)

DFT_LEVELS = DatasetSpec(
    name="dft-levels",
    domain="dft",
    summary="molecules of H, C, N, O, F, P, S, Cl with up to 12 atoms: one density, four levels",
    quantities=("energy", "forces", "dipole", "homo", "lumo", "density_coefficients"),
    levels=(PBE, LDA_ON_PBE, R2SCAN_ON_PBE, B3LYP_ON_PBE),
    licence="CC0-1.0 (labels and geometries); SMILES from robocrys, modified BSD",
    origin="SMILES of robocrys 0.2.13; geometries rdkit and GFN2-xTB; labels PySCF 2.14.0",
    citation=(
        "Ganose, Jain, MRS Commun. 9, 874 (2019), doi:10.1557/mrc.2019.94",
        "Sun et al., J. Chem. Phys. 153, 024109 (2020), doi:10.1063/5.0006074",
    ),
    encoder="dft/atoms",
)

G2_ATOMISATION = DatasetSpec(
    name="g2-atomisation",
    domain="dft",
    summary="closed-shell molecules of the G2 set with measured atomisation energies; held out",
    quantities=("atomisation_energy", "atomisation_energy_uncertainty"),
    levels=(EXPERIMENT, ATCT),
    licence="LGPL-2.1-or-later (ase, whose tables these are); MIT (chemicals, for ATcT)",
    origin="ase 3.29.0, ase.data.g2: geometries, enthalpies of formation, zero-point energies; "
    "chemicals 1.5.2: Active Thermochemical Tables 1.112",
    citation=(
        "Ruscic et al., J. Phys. Chem. A 108, 9979 (2004), doi:10.1021/jp047912y",
        "Curtiss, Raghavachari, Redfern, Pople, J. Chem. Phys. 106, 1063 (1997)",
        "Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017)",
    ),
    held_out=True,
)

HYDROGEN_1D = DatasetSpec(
    name="hydrogen-1d",
    domain="dft",
    summary="hydrogen molecules on a line: exact energies and densities, exponential interaction",
    quantities=("energy_1d", "density_1d"),
    levels=(EXACT_1D,),
    licence="CC0-1.0",
    origin="own calculation: diagonalisation on the grid (1, 2 electrons), full CI (4 electrons)",
    citation=(
        "Baker, Stoudenmire, Wagner, Burke, White, Phys. Rev. B 91, 235141 (2015)",
        "Li et al., Phys. Rev. Lett. 126, 036401 (2021)",
    ),
    held_out=True,
)
