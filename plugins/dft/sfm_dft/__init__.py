"""The dft plugin: electron densities and Kohn-Sham theory. Light: nothing heavy is imported.

Rooms, lowest first; each imports only rooms before it:

    quantities   what is measured
    integrals    Gaussian integrals in torch, differentiable
    xc           exchange-correlation functionals and dispersion
    basis        elements, tables of shells, and the basis that densities are written in
    grid         points, weights, and orbitals with their derivatives on them
    data         specs, labels by PySCF, builders, readers
    ladder       Kohn-Sham theory on a line, exact densities, learned functionals there
    scf          molecule, energy functional, DIIS, Newton steps, stability
    gradients    forces, sensitivities, the response of the density
    hessian      second derivatives: vibrations, polarizability
    neural       learned functionals in three dimensions
    model        encoders, heads, closure, metrics
    density      predicted densities as a first guess, and their training
    fock         predicted Fock matrices
    simulators   `dft/kohn-sham`, dynamics on it, figures, PySCF with our functionals
"""

from sfm.plugin import Plugin
from sfm_dft.ladder.quantities import ALL as LADDER
from sfm_dft.quantities import ALL

plugin = Plugin(
    name="dft",
    domain="dft",
    summary="electron densities, exchange-correlation energies, and Kohn-Sham theory of molecules",
    datasets={
        "dft-small": "sfm_dft.data.specs:DFT_SMALL",
        "dft-levels": "sfm_dft.data.specs:DFT_LEVELS",
        "g2-atomisation": "sfm_dft.data.specs:G2_ATOMISATION",
        "hydrogen-1d": "sfm_dft.data.specs:HYDROGEN_1D",
    },
    simulators={
        "kohn-sham": "sfm_dft.simulators.kohn_sham:KohnSham",
        "kohn-sham-1d": "sfm_dft.ladder.kohn_sham_1d:KohnSham1D",
    },
    encoders={
        "atoms": "sfm_dft.model.encoders:AtomEncoder",
        "density": "sfm_dft.model.encoders:DensityEncoder",
    },
    heads={
        "energy": "sfm.nn.head:ScalarSum",
        "xc_energy": "sfm.nn.head:ScalarSum",
        "xc_correction": "sfm.nn.head:ScalarSum",
        "kinetic_energy": "sfm.nn.head:ScalarSum",
        "hartree_energy": "sfm.nn.head:ScalarSum",
        "atomisation_energy": "sfm.nn.head:ScalarSum",
        "dipole": "sfm.nn.head:VectorSum",
        "homo": "sfm_dft.model.heads:FrontierLevel",
        "lumo": "sfm_dft.model.heads:FrontierLevel",
        "density_coefficients": "sfm_dft.model.heads:AtomicDensity",
    },
    metrics={
        "density_coefficients.relative_error": "sfm_dft.model.metrics:density_relative_error",
        "density_coefficients.electron_error": "sfm_dft.model.metrics:electron_error",
        "dipole.vector_error": "sfm_dft.model.metrics:dipole_vector_error",
    },
    quantities=(*ALL, *LADDER),
    citations=(
        "doi:10.1103/PhysRev.140.A1133",
        "doi:10.1103/PhysRevLett.77.3865",
        "doi:10.1063/5.0006074",
        "doi:10.1016/j.softx.2017.11.002",
    ),
    requires=("pyscf",),
)


def __getattr__(name: str) -> object:
    """`sfm_dft.pyscf(mol, functional)`: our functionals in PySCF, imported when asked for."""
    if name == "pyscf":
        from sfm_dft.simulators.pyscf_adapter import mean_field

        return mean_field
    raise AttributeError(f"module 'sfm_dft' has no attribute '{name}'")
