"""The dft plugin: electron densities and Kohn-Sham theory. Light: nothing heavy is imported."""

from sfm.plugin import Plugin
from sfm_dft.ladder.quantities import ALL as LADDER
from sfm_dft.quantities import ALL

plugin = Plugin(
    name="dft",
    domain="dft",
    summary="electron densities, exchange-correlation energies, and Kohn-Sham theory of molecules",
    datasets={
        "dft-small": "sfm_dft.specs:DFT_SMALL",
        "dft-levels": "sfm_dft.specs:DFT_LEVELS",
        "g2-atomisation": "sfm_dft.specs:G2_ATOMISATION",
        "hydrogen-1d": "sfm_dft.specs:HYDROGEN_1D",
    },
    simulators={
        "kohn-sham": "sfm_dft.kohn_sham:KohnSham",
        "kohn-sham-1d": "sfm_dft.ladder.kohn_sham_1d:KohnSham1D",
    },
    encoders={
        "atoms": "sfm_dft.encoders:AtomsEncoder",
        "density": "sfm_dft.encoders:DensityEncoder",
    },
    heads={
        "energy": "sfm.nn.head:ScalarSum",
        "xc_energy": "sfm.nn.head:ScalarSum",
        "xc_correction": "sfm.nn.head:ScalarSum",
        "kinetic_energy": "sfm.nn.head:ScalarSum",
        "hartree_energy": "sfm.nn.head:ScalarSum",
        "atomisation_energy": "sfm.nn.head:ScalarSum",
        "dipole": "sfm.nn.head:VectorSum",
        "homo": "sfm_dft.heads:FrontierLevel",
        "lumo": "sfm_dft.heads:FrontierLevel",
        "density_coefficients": "sfm_dft.heads:AtomicDensity",
    },
    metrics={
        "density_coefficients.relative_error": "sfm_dft.metrics:density_relative_error",
        "density_coefficients.electron_error": "sfm_dft.metrics:electron_error",
        "dipole.vector_error": "sfm_dft.metrics:dipole_vector_error",
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
        from sfm_dft.pyscf_adapter import mean_field

        return mean_field
    raise AttributeError(f"module 'sfm_dft' has no attribute '{name}'")
