"""The datasets of this plugin: what they are, without opening them."""

from __future__ import annotations

from sfm.data.spec import DatasetSpec

GFN2 = "GFN2-xTB"
DFT = "DFT (chemml 1.3)"
EXPERIMENT = "experiment (chemicals 1.5.2)"

MOLECULES_XTB = DatasetSpec(
    name="molecules-xtb",
    domain="molecules",
    summary="conformers of small organic molecules with GFN2-xTB energies, forces and charges",
    quantities=("energy", "forces", "dipole", "charges"),
    levels=(GFN2,),
    licence=(
        "LicenseRef-see-card: labels CC0-1.0 (made here); molecules from robocrys 0.2.13 (modified "
        "BSD) and from the chemical component dictionary in biotite 1.6.0 (package BSD-3-Clause; "
        "the archive states no terms for the dictionary)"
    ),
    origin=(
        "SMILES of robocrys 0.2.13 molecule_db.json.gz and biotite 1.6.0 components.bcif; "
        "geometries by rdkit (ETKDGv3, MMFF94) and thermal displacement; labels by tblite"
    ),
    citation=(
        "Bannwarth, Ehlert, Grimme (2019), doi:10.1021/acs.jctc.8b01176",
        "Ganose, Jain (2019), doi:10.1557/mrc.2019.94",
        "Westbrook et al. (2015), doi:10.1093/bioinformatics/btu789",
    ),
)

MOLECULES_XTB_WIDE = DatasetSpec(
    name="molecules-xtb-wide",
    domain="molecules",
    summary="conformers and ions of real molecules of twelve elements, GFN2-xTB, twelve properties",
    quantities=(
        "energy",
        "forces",
        "dipole",
        "quadrupole",
        "charges",
        "valences",
        "homo",
        "lumo",
        "polarizability",
        "solvation_energy_water",
        "solvation_energy_octanol",
        "solvation_energy_hexane",
    ),
    levels=(GFN2,),
    licence=MOLECULES_XTB.licence + "; identifiers of chemicals 1.5.2 (MIT)",
    origin=(
        "SMILES of chemicals 1.5.2, robocrys 0.2.13 and biotite 1.6.0; geometries by rdkit "
        "(ETKDGv3, MMFF94) and thermal displacement; labels by tblite"
    ),
    citation=(
        *MOLECULES_XTB.citation,
        "Ehlert, Stahn, Spicher, Grimme (2021), doi:10.1021/acs.jctc.1c00471",
    ),
)

MOLECULES_DIMERS = DatasetSpec(
    name="molecules-dimers",
    domain="molecules",
    summary="pairs of small molecules, ions and radicals with GFN2-xTB interaction energies",
    quantities=(
        "energy",
        "interaction_energy",
        "forces",
        "dipole",
        "quadrupole",
        "charges",
        "valences",
        "homo",
        "lumo",
    ),
    levels=(GFN2,),
    licence=MOLECULES_XTB.licence + "; identifiers of chemicals 1.5.2 (MIT)",
    origin=(
        "SMILES of chemicals 1.5.2, robocrys 0.2.13 and biotite 1.6.0, ions and radicals named in "
        "sfm_molecules.data.dimers; geometries by rdkit (ETKDGv3, MMFF94, UFF), GFN2-xTB, thermal "
        "displacement and random orientation; labels by tblite"
    ),
    citation=MOLECULES_XTB.citation,
)

MOLECULES_IONS = DatasetSpec(
    name="molecules-ions",
    domain="molecules",
    summary="closed-shell cations and anions and radicals of real molecules, with GFN2-xTB labels",
    quantities=("energy", "forces", "dipole", "quadrupole", "charges", "valences"),
    levels=(GFN2,),
    licence=MOLECULES_XTB.licence + "; identifiers of chemicals 1.5.2 (MIT)",
    origin=(
        "SMILES of chemicals 1.5.2, robocrys 0.2.13 and biotite 1.6.0, with a proton or a hydrogen "
        "atom more or less (sfm_molecules.data.ions); geometries by rdkit (ETKDGv3, MMFF94, UFF) "
        "and thermal displacement; labels by tblite"
    ),
    citation=MOLECULES_XTB.citation,
)

MOLECULES_MEASURED = DatasetSpec(
    name="molecules-measured",
    domain="molecules",
    summary="measured melting and boiling points and octanol-water partition coefficients",
    quantities=("melting_temperature", "boiling_temperature", "log_octanol_water"),
    levels=(EXPERIMENT,),
    licence=(
        "LicenseRef-see-card: melting and boiling points CC0-1.0; partition coefficients and "
        "identifiers from chemicals 1.5.2 (MIT), which states no separate terms for them"
    ),
    origin=(
        "tables of chemicals 1.5.2: Open Notebook Science and Wikidata melting points, Wikidata "
        "boiling points, KOWWIN partition coefficients; geometries by rdkit (ETKDGv3, MMFF94)"
    ),
    citation=(
        "Bradley, Lang, Williams (2014), doi:10.6084/m9.figshare.1031637",
        "Bell and contributors, chemicals, https://github.com/CalebBell/chemicals",
        "Meylan, Howard (1995), doi:10.1002/jps.2600840120",
    ),
)

POLARIZABILITY_DFT = DatasetSpec(
    name="polarizability-dft",
    domain="molecules",
    summary="DFT polarizabilities of organic molecules of C, H, N, O, S; held out",
    quantities=("polarizability",),
    levels=(DFT,),
    licence="BSD-3-Clause (package chemml 1.3, which states no separate terms for its data)",
    origin="chemml 1.3, properties_10k.csv, its smallest molecules; geometries by rdkit",
    citation=("Haghighatlari et al. (2020), doi:10.1002/wcms.1458",),
    held_out=True,
)
