"""Quantities of crystals besides the core's energy, forces and stress. No heavy imports."""

from sfm.quantity import (
    BARRIER,
    JOINED_DISTANCE,
    JOINED_ENERGY,
    LARGEST_FORCE,
    PATH_DISTANCE,
    PATH_ENERGY,
    REVERSE_BARRIER,
    Quantity,
)

FORMATION_ENERGY = Quantity(
    "formation_energy",
    "eV",
    summary="per atom, from the elements in their standard states",
    affine=("energy", 1.0),
)
FORMATION_ENERGY_UNCERTAINTY = Quantity(
    "formation_energy_uncertainty", "eV", summary="per atom, standard uncertainty of a measurement"
)
VOLUME = Quantity("volume", "angstrom**3", extensive=True, summary="of the periodic cell")
PRESSURE = Quantity(
    "pressure",
    "GPa",
    summary="minus a third of the stress's trace; of atoms in motion, with theirs",
)
ELASTIC_CONSTANTS = Quantity(
    "elastic_constants",
    "GPa",
    "2x0e+2x2e+1x4e",
    summary="6 x 6, Voigt order xx, yy, zz, yz, xz, xy; atoms relaxed",
)
CLAMPED_ELASTIC_CONSTANTS = Quantity(
    "clamped_elastic_constants",
    "GPa",
    "2x0e+2x2e+1x4e",
    summary="with atoms at their fractional coordinates",
)
DIELECTRIC = Quantity(
    "dielectric", "1", "0e+2e", summary="static relative permittivity, 3 x 3, of ions and electrons"
)
ELECTRONIC_DIELECTRIC = Quantity(
    "electronic_dielectric", "1", "0e+2e", summary="relative permittivity with the ions at rest"
)
PIEZOELECTRIC_MODULUS = Quantity(
    "piezoelectric_modulus",
    "C/m**2",
    summary="largest longitudinal one, of |e_ijk n_i n_j n_k| over all directions n; ions relaxed",
)
LOG_CLAMPED_BULK_MODULUS = Quantity(
    "log_clamped_bulk_modulus", "1", summary="log10 of Voigt's average in GPa, atoms clamped"
)
BAND_GAP = Quantity("band_gap", "eV", summary="smallest, direct or not; 0 for metals")
LOG_BULK_MODULUS = Quantity(
    "log_bulk_modulus", "1", summary="log10 of the average of Voigt and Reuss in GPa"
)
LOG_SHEAR_MODULUS = Quantity(
    "log_shear_modulus", "1", summary="log10 of the average of Voigt and Reuss in GPa"
)
LARGEST_CAVITY = Quantity(
    "largest_cavity_diameter", "angstrom", summary="of the largest sphere that fits into the pores"
)
PORE_LIMITING = Quantity(
    "pore_limiting_diameter", "angstrom", summary="of the largest sphere that passes through"
)
ACCESSIBLE_AREA = Quantity(
    "accessible_surface_area", "m**2/cm**3", summary="that nitrogen reaches, by volume of crystal"
)
VOID_FRACTION = Quantity(
    "void_fraction", "1", summary="of the volume, outside the spheres of all atoms"
)
BULK_MODULUS = Quantity("bulk_modulus", "GPa", summary="of an elastic cell: Hill's average")
BULK_MODULUS_DERIVATIVE = Quantity("bulk_modulus_derivative", "1", summary="dB/dP at P = 0")
SHEAR_MODULUS = Quantity("shear_modulus", "GPa", summary="Hill's average over grains")
YOUNGS_MODULUS = Quantity("youngs_modulus", "GPa", summary="Hill's average over grains")
POISSON_RATIO = Quantity("poisson_ratio", "1", summary="Hill's average over grains")
ANISOTROPY = Quantity("elastic_anisotropy", "1", summary="universal, 0 if isotropic")
STABILITY = Quantity("stability", "GPa", summary="smallest eigenvalue of the elastic constants")
CURVE_VOLUME = Quantity("curve_volume", "angstrom**3", summary="of each cell of E(V)")
CURVE_ENERGY = Quantity("curve_energy", "eV", summary="of each cell of E(V)")
PHONON_FREQUENCIES = Quantity(
    "phonon_frequencies", "THz", summary="along the path of band_distance, imaginary ones negative"
)
BAND_DISTANCE = Quantity("band_distance", "1/angstrom", summary="along the path in wave vectors")
PHONON_DOS = Quantity("phonon_dos", "1/THz", summary="states per cell at dos_frequency")
DOS_FREQUENCY = Quantity("dos_frequency", "THz", summary="of phonon_dos")
GRID_TEMPERATURE = Quantity("grid_temperature", "kelvin", summary="of thermal properties")
HELMHOLTZ_ENERGY = Quantity("helmholtz_energy", "eV", summary="of phonons, per cell")
VIBRATIONAL_ENTROPY = Quantity("vibrational_entropy", "eV/kelvin", summary="per cell")
HEAT_CAPACITY = Quantity("heat_capacity", "eV/kelvin", summary="at constant volume, per cell")
THERMAL_VOLUME = Quantity("thermal_volume", "angstrom**3", summary="of the cell, by temperature")
THERMAL_EXPANSION = Quantity("thermal_expansion", "1/kelvin", summary="of the volume")
THERMAL_BULK_MODULUS = Quantity("thermal_bulk_modulus", "GPa", summary="isothermal")
QUASI_HARMONIC_ENERGY = Quantity(
    "quasi_harmonic_energy", "eV", summary="of cell and phonons, by temperature"
)
SADDLE_CURVATURE = Quantity(
    "saddle_curvature", "eV/angstrom**2", summary="along the softest mode, negative at a saddle"
)
COUPLING_SLOPE = Quantity(
    "coupling_slope", "eV", summary="U - U_0 per cell at each place of the way, the end last"
)
FREE_ENERGY = Quantity("free_energy", "eV", summary="Helmholtz, per cell, atoms in motion")
FREE_ENERGY_DIFFERENCE = Quantity(
    "free_energy_difference", "eV", summary="from the reference, per cell"
)
FREE_ENERGY_ERROR = Quantity("free_energy_error", "eV", summary="standard error, per cell")
REFERENCE_FREE_ENERGY = Quantity(
    "reference_free_energy", "eV", summary="of the reference, per cell"
)
MEAN_PRESSURE = Quantity("mean_pressure", "GPa", summary="of the run so far, atoms in motion")
GIBBS_ENERGY = Quantity("gibbs_energy", "eV", summary="free energy and mean pressure by volume")
ALL = (
    FORMATION_ENERGY,
    FORMATION_ENERGY_UNCERTAINTY,
    VOLUME,
    PRESSURE,
    ELASTIC_CONSTANTS,
    CLAMPED_ELASTIC_CONSTANTS,
    DIELECTRIC,
    ELECTRONIC_DIELECTRIC,
    PIEZOELECTRIC_MODULUS,
    LOG_CLAMPED_BULK_MODULUS,
    BAND_GAP,
    LOG_BULK_MODULUS,
    LOG_SHEAR_MODULUS,
    LARGEST_CAVITY,
    PORE_LIMITING,
    ACCESSIBLE_AREA,
    VOID_FRACTION,
    BULK_MODULUS,
    BULK_MODULUS_DERIVATIVE,
    SHEAR_MODULUS,
    YOUNGS_MODULUS,
    POISSON_RATIO,
    ANISOTROPY,
    STABILITY,
    CURVE_VOLUME,
    CURVE_ENERGY,
    PHONON_FREQUENCIES,
    BAND_DISTANCE,
    PHONON_DOS,
    DOS_FREQUENCY,
    GRID_TEMPERATURE,
    HELMHOLTZ_ENERGY,
    VIBRATIONAL_ENTROPY,
    HEAT_CAPACITY,
    THERMAL_VOLUME,
    THERMAL_EXPANSION,
    THERMAL_BULK_MODULUS,
    QUASI_HARMONIC_ENERGY,
    BARRIER,
    REVERSE_BARRIER,
    PATH_ENERGY,
    PATH_DISTANCE,
    LARGEST_FORCE,
    JOINED_ENERGY,
    JOINED_DISTANCE,
    SADDLE_CURVATURE,
    COUPLING_SLOPE,
    FREE_ENERGY,
    FREE_ENERGY_DIFFERENCE,
    FREE_ENERGY_ERROR,
    REFERENCE_FREE_ENERGY,
    MEAN_PRESSURE,
    GIBBS_ENERGY,
)
