"""Crystals: periodic cells, their energies, forces and stress, statics and dynamics.

Rooms, lowest first; each imports only rooms before it:

    constants, quantities, cells    units; what is measured; cells and their geometry
    figures                         figures of lattices, equations of state and dynamics
    potentials                      classical energies, by name and from tables
    statics                         relaxation, elastic constants, equation of state
    data                            specs, readers, writers, builders
    model                           encoder, closure, metrics
    simulators                      statics, phonons, molecular dynamics, free energies
"""

from __future__ import annotations

from sfm.plugin import Plugin
from sfm.quantity import (
    CONSERVED_ENERGY,
    KINETIC_TEMPERATURE,
    MEAN_SQUARE_DISPLACEMENT,
    NUCLEAR_KINETIC_ENERGY,
    RADIAL_DISTRIBUTION,
)
from sfm_crystals import quantities

plugin = Plugin(
    name="crystals",
    domain="crystals",
    summary="inorganic crystals: formation energies, forces and stress, relaxation, elasticity",
    datasets={
        "crystals-mp": "sfm_crystals.data.specs:CRYSTALS_MP",
        "crystals-forces": "sfm_crystals.data.specs:CRYSTALS_FORCES",
        "crystals-levels": "sfm_crystals.data.specs:CRYSTALS_LEVELS",
        "crystals-elastic": "sfm_crystals.data.specs:CRYSTALS_ELASTIC",
        "crystals-properties": "sfm_crystals.data.specs:CRYSTALS_PROPERTIES",
        "crystals-dielectric": "sfm_crystals.data.specs:CRYSTALS_DIELECTRIC",
        "crystals-piezoelectric": "sfm_crystals.data.specs:CRYSTALS_PIEZOELECTRIC",
        "crystals-stiffness": "sfm_crystals.data.specs:CRYSTALS_STIFFNESS",
        "crystals-mof": "sfm_crystals.data.specs:CRYSTALS_MOF",
        "formation-energy-exp": "sfm_crystals.data.specs:FORMATION_ENERGY_EXP",
    },
    simulators={
        "lattice": "sfm_crystals.simulators.lattice:LatticeStatics",
        "elastic": "sfm_crystals.simulators.elastic:Elastic",
        "equation-of-state": "sfm_crystals.simulators.equation_of_state:EquationOfState",
        "phonons": "sfm_crystals.simulators.phonons:Phonons",
        "quasi-harmonic": "sfm_crystals.simulators.quasi_harmonic:QuasiHarmonic",
        "transition-state": "sfm_crystals.simulators.transition_state:TransitionState",
        "free-energy": "sfm_crystals.simulators.free_energy:FreeEnergy",
        "molecular-dynamics": "sfm_crystals.simulators.dynamics:MolecularDynamics",
    },
    encoders={"atoms": "sfm_crystals.model.encoder:CrystalEncoder"},
    heads={
        "energy": "sfm.nn.head:ScalarSum",
        "formation_energy": "sfm.nn.head:ScalarMean",
        "log_clamped_bulk_modulus": "sfm.nn.head:ScalarMean",
        "dielectric": "sfm.nn.tensor_heads:MatrixMean",
        "electronic_dielectric": "sfm.nn.tensor_heads:MatrixMean",
        "piezoelectric_modulus": "sfm.nn.head:ScalarMean",
        "elastic_constants": "sfm.nn.tensor_heads:ElasticMean",
    },
    metrics={
        "formation_energy.mae_mev": "sfm_crystals.model.metrics:mae_milli",
        "forces.mae_mev_per_angstrom": "sfm_crystals.model.metrics:mae_milli",
        "stress.mae_gpa": "sfm_crystals.model.metrics:mae_gpa",
        "dielectric.mae_isotropic": "sfm_crystals.model.metrics:mae_isotropic_matrix",
        "elastic_constants.mae_bulk_gpa": "sfm_crystals.model.metrics:mae_bulk",
        "elastic_constants.mae_shear_gpa": "sfm_crystals.model.metrics:mae_shear",
    },
    readers={
        ".cif": "sfm_crystals.data.cif:read_cif",
        "poscar,contcar,.vasp,.poscar,.contcar": "sfm_crystals.data.readers:read_poscar",
        ".extxyz,.xyz,.traj,.xsf,.db,.aselmdb": "sfm_crystals.data.readers:read_ase",
        "vasprun,.xml": "sfm_crystals.data.readers:read_vasprun",
        ".yaml": "sfm_crystals.data.phonopy_cells:read_phonopy",
        ".json": "sfm_crystals.data.readers:read_json",
        "outcar": "sfm_crystals.data.readers:read_outcar",
        "object:ase.atoms.Atoms": "sfm_crystals.data.converters:from_ase",
        "object:pymatgen.core.structure.Structure": "sfm_crystals.data.converters:from_pymatgen",
        # where the class is since 2026, and where it was
        "object:pymatgen.core.entries.ComputedStructureEntry": (
            "sfm_crystals.data.converters:from_entry"
        ),
        "object:pymatgen.entries.computed_entries.ComputedStructureEntry": (
            "sfm_crystals.data.converters:from_entry"
        ),
    },
    descriptors={"elemental": "sfm_crystals.data.descriptors:elemental"},
    quantities=(
        *quantities.ALL,
        NUCLEAR_KINETIC_ENERGY,
        CONSERVED_ENERGY,
        KINETIC_TEMPERATURE,
        MEAN_SQUARE_DISPLACEMENT,
        RADIAL_DISTRIBUTION,
    ),
    citations=(
        "doi:10.1002/qua.24917",
        "doi:10.1063/1.4812323",
        "doi:10.1038/s42256-023-00716-3",
        "doi:10.1021/acs.jctc.4c00190",
    ),
    requires=("ase", "pymatgen"),
)
