"""The molecules plugin: organic molecules and molecular dynamics. No heavy imports.

Rooms, lowest first; each imports only rooms before it:

    constants, quantities, figures    units; what is measured; figures of runs
    geometry                          conformers, topology, displacements
    potentials                        UFF, MMFF94, Lennard-Jones, GFN1-xTB
    data                              specs, readers, writers, labels, builders
    model                             encoder, heads, closure, metrics
    simulators                        molecular dynamics, minima, vibrations, saddle points
"""

from __future__ import annotations

from sfm.plugin import Plugin
from sfm_molecules.quantities import ALL

plugin = Plugin(
    name="molecules",
    domain="molecules",
    summary="small organic molecules at GFN2-xTB, and differentiable molecular dynamics",
    datasets={
        "molecules-xtb": "sfm_molecules.data.specs:MOLECULES_XTB",
        "molecules-xtb-wide": "sfm_molecules.data.specs:MOLECULES_XTB_WIDE",
        "molecules-dimers": "sfm_molecules.data.specs:MOLECULES_DIMERS",
        "molecules-ions": "sfm_molecules.data.specs:MOLECULES_IONS",
        "molecules-measured": "sfm_molecules.data.specs:MOLECULES_MEASURED",
        "polarizability-dft": "sfm_molecules.data.specs:POLARIZABILITY_DFT",
    },
    simulators={
        "molecular-dynamics": "sfm_molecules.simulators.dynamics:MolecularDynamics",
        "relax": "sfm_molecules.simulators.relax:Relax",
        "vibrations": "sfm_molecules.simulators.vibrations:Vibrations",
        "transition-state": "sfm_molecules.simulators.transition_state:TransitionState",
        "tight-binding": "sfm_molecules.simulators.tight_binding:TightBindingDynamics",
    },
    encoders={"atoms": "sfm_molecules.model.encoder:MoleculeEncoder"},
    heads={
        "energy": "sfm.nn.head:ScalarSum",
        "charges": "sfm_molecules.model.heads:Charges",
        "dipole": "sfm_molecules.model.heads:Dipole",
        "quadrupole": "sfm_molecules.model.heads:Quadrupole",
        "valences": "sfm.nn.head:TokenScalar",
        "interaction_energy": "sfm.nn.head:ScalarSum",
        "polarizability": "sfm.nn.head:ScalarSum",
        "homo": "sfm.nn.head:ScalarMean",
        "lumo": "sfm.nn.head:ScalarMean",
        "solvation_energy_water": "sfm.nn.head:ScalarSum",
        "solvation_energy_octanol": "sfm.nn.head:ScalarSum",
        "solvation_energy_hexane": "sfm.nn.head:ScalarSum",
        "melting_temperature": "sfm.nn.head:ScalarMean",
        "boiling_temperature": "sfm.nn.head:ScalarMean",
        "log_octanol_water": "sfm.nn.head:ScalarSum",
    },
    metrics={
        "forces.cosine": "sfm_molecules.model.metrics:mean_cosine",
        "dipole.vector_error": "sfm_molecules.model.metrics:mean_vector_error",
        "charges.correlation": "sfm_molecules.model.metrics:correlation",
    },
    readers={
        ".smi,.smiles,.csv": "sfm_molecules.data.smiles_files:read_smiles",
        "text:smiles": "sfm_molecules.data.smiles_files:from_smiles",
        ".sdf,.mol": "sfm_molecules.data.readers:read_sdf",
        ".json": "sfm_molecules.data.readers:read_json",
        ".xyz,.extxyz,.traj,.pdb,.gjf,.db,.aselmdb": "sfm_molecules.data.readers:read_ase",
        "object:ase.atoms.Atoms": "sfm_molecules.data.converters:from_ase",
        "object:rdkit.Chem.rdchem.Mol": "sfm_molecules.data.converters:from_rdkit",
        "object:pymatgen.core.structure.Molecule": "sfm_molecules.data.converters:from_pymatgen",
    },
    descriptors={
        "rdkit": "sfm_molecules.data.descriptors:rdkit",
        "xtb": "sfm_molecules.data.descriptors:xtb",
    },
    quantities=ALL,
    citations=(
        "doi:10.1021/acs.jctc.8b01176",  # GFN2-xTB
        "doi:10.1021/ja00051a040",  # UFF
        "doi:10.1002/(SICI)1096-987X(199604)17:5/6<490::AID-JCC1>3.0.CO;2-P",  # MMFF94
        "doi:10.1063/1.442716",  # velocity Verlet
        "doi:10.1093/amrx/abs010",  # BAOAB
    ),
    requires=("rdkit", "ase", "tblite"),
)
