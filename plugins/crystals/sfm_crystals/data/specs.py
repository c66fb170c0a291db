"""The datasets of this plugin: what they are, without opening them."""

from sfm.data.spec import DatasetSpec

PBE = "PBE+U (Materials Project)"
DISTILLED = "CHGNet-0.4.2 (distilled)"
SEVENNET = "SevenNet-0 (distilled)"
EXPERIMENT = "experiment"
PERTURBATION = "PBE+U perturbation theory (Materials Project)"
STRESS_STRAIN = "PBE stress-strain (Materials Project)"
PORES = "pore geometry (CoRE MOF 2019)"
MEGNET_PBE = "PBE by MEGNet-1.3.2 (distilled)"
MEGNET_HSE = "HSE by MEGNet-1.3.2 (distilled)"
MEGNET_EXPERIMENT = "experiment by MEGNet-1.3.2 (distilled)"

_MP_LICENCE = (
    "LicenseRef-see-card: the archive (matminer 0.4.1) is under a modified BSD licence and states "
    "no terms for the Materials Project's data in it"
)
_FLLA = "Faber, Lindmaa, von Lilienfeld, Armiento (2015), doi:10.1002/qua.24917"
_MP = "Jain et al. (2013), doi:10.1063/1.4812323"

CRYSTALS_MP = DatasetSpec(
    name="crystals-mp",
    domain="crystals",
    summary="relaxed inorganic crystals with their PBE formation energy",
    quantities=("formation_energy",),
    levels=(PBE,),
    licence=_MP_LICENCE,
    origin="matminer 0.4.1, matminer/datasets/flla_2015.csv, minus held-out compounds",
    citation=(_FLLA, _MP),
)

CRYSTALS_FORCES = DatasetSpec(
    name="crystals-forces",
    domain="crystals",
    summary="rattled and strained crystals with energy, forces and stress distilled from CHGNet",
    quantities=("energy", "forces", "stress"),
    levels=(DISTILLED,),
    licence=_MP_LICENCE + "; CHGNet 0.4.2, which made the labels, is under a modified BSD licence",
    origin="cells of crystals-mp, perturbed; labels by chgnet 0.4.2 (weights 0.3.0), not by DFT",
    citation=("Deng et al. (2023), doi:10.1038/s42256-023-00716-3", _FLLA, _MP),
)

CRYSTALS_LEVELS = DatasetSpec(
    name="crystals-levels",
    domain="crystals",
    summary="cells of crystals-forces with labels distilled from two teachers, CHGNet and SevenNet",
    quantities=("energy", "forces", "stress"),
    levels=(DISTILLED, SEVENNET),
    licence=_MP_LICENCE + "; CHGNet 0.4.2 is under a modified BSD licence, SevenNet 0.11.2 and its "
    "weights are under GPL-3.0; neither states terms for what its weights compute",
    origin="2,000 cells of crystals-forces with its labels; more by sevenn 0.11.2 (weights "
    "SevenNet-0, 11 July 2024), not by DFT",
    citation=(
        "Deng et al. (2023), doi:10.1038/s42256-023-00716-3",
        "Park, Kim, Hwang, Han (2024), doi:10.1021/acs.jctc.4c00190",
        _FLLA,
        _MP,
    ),
)

CRYSTALS_ELASTIC = DatasetSpec(
    name="crystals-elastic",
    domain="crystals",
    summary="relaxed crystals with their bulk modulus distilled from CHGNet, atoms clamped",
    quantities=("log_clamped_bulk_modulus",),
    levels=(DISTILLED,),
    licence=_MP_LICENCE + "; CHGNet 0.4.2, which made the labels, is under a modified BSD licence",
    origin="cells of crystals-mp, strained; stresses by chgnet 0.4.2 (weights 0.3.0), not by DFT",
    citation=("Deng et al. (2023), doi:10.1038/s42256-023-00716-3", _FLLA, _MP),
)

CRYSTALS_DIELECTRIC = DatasetSpec(
    name="crystals-dielectric",
    domain="crystals",
    summary="inorganic crystals with computed dielectric tensors, in full; held out",
    quantities=("dielectric", "electronic_dielectric"),
    levels=(PERTURBATION,),
    licence=_MP_LICENCE,
    origin="matminer 0.4.1, matminer/datasets/dielectric_constant.csv",
    citation=("Petousis et al. (2017), doi:10.1038/sdata.2016.134", _MP),
    held_out=True,
)

CRYSTALS_STIFFNESS = DatasetSpec(
    name="crystals-stiffness",
    domain="crystals",
    summary="inorganic crystals with computed elastic constants, in full; held out",
    quantities=("elastic_constants",),
    levels=(STRESS_STRAIN,),
    licence=_MP_LICENCE,
    origin="matminer 0.4.1, matminer/datasets/elastic_tensor.csv",
    citation=("de Jong et al. (2015), doi:10.1038/sdata.2015.9", _MP),
    held_out=True,
)

CRYSTALS_PIEZOELECTRIC = DatasetSpec(
    name="crystals-piezoelectric",
    domain="crystals",
    summary="crystals without inversion with their largest longitudinal piezoelectric modulus",
    quantities=("piezoelectric_modulus",),
    levels=(PERTURBATION,),
    licence=_MP_LICENCE,
    origin="matminer 0.4.1, matminer/datasets/piezoelectric_tensor.csv",
    citation=("de Jong et al. (2015), doi:10.1038/sdata.2015.53", _MP),
    held_out=True,
)

CRYSTALS_PROPERTIES = DatasetSpec(
    name="crystals-properties",
    domain="crystals",
    summary="crystals, real and substituted, with band gaps and moduli distilled from MEGNet",
    quantities=("band_gap", "log_bulk_modulus", "log_shear_modulus"),
    levels=(MEGNET_PBE, MEGNET_HSE, MEGNET_EXPERIMENT),
    licence=_MP_LICENCE + "; MEGNet 1.3.2, which made the labels, is under a modified BSD licence",
    origin="cells of crystals-mp, as they are and with one element replaced; by megnet 1.3.2",
    citation=(
        "Chen, Ye, Zuo, Zheng, Ong (2019), doi:10.1021/acs.chemmater.9b01294",
        "Chen, Zuo, Ye, Li, Ong (2021), doi:10.1038/s43588-020-00002-x",
        _FLLA,
        _MP,
    ),
)

CRYSTALS_MOF = DatasetSpec(
    name="crystals-mof",
    domain="crystals",
    summary="metal-organic frameworks, solvent removed, with the sizes of their pores; small ones",
    quantities=(
        "largest_cavity_diameter",
        "pore_limiting_diameter",
        "accessible_surface_area",
        "void_fraction",
    ),
    levels=(PORES,),
    licence="CC-BY-4.0 (data, as the package states); the package core-mof is MIT",
    origin="core-mof 2019.1, CoRE_MOF/data/2019-ASR (CoRE MOF 2019, all solvent removed)",
    citation=(
        "Chung et al. (2019), doi:10.1021/acs.jced.9b00835",
        "data: doi:10.5281/zenodo.7691378",
    ),
)

FORMATION_ENERGY_EXP = DatasetSpec(
    name="formation-energy-exp",
    domain="crystals",
    summary="measured formation energies of inorganic crystals, with uncertainty; held out",
    quantities=("formation_energy", "formation_energy_uncertainty"),
    levels=(EXPERIMENT,),
    licence="MIT (energies, pymatgen); structures: " + _MP_LICENCE,
    origin="pymatgen 2026.10.24, exp_compounds.json.gz, joined by mp-id to flla_2015.csv",
    citation=("Ong et al. (2013), doi:10.1016/j.commatsci.2012.10.028", _FLLA, _MP),
    held_out=True,
)
