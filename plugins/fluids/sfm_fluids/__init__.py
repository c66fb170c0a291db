"""Fluids: 2-D turbulence, its differentiable simulator, and the subgrid-stress closure."""

from __future__ import annotations

from sfm.plugin import Plugin
from sfm.quantity import Quantity

from .darcy import quantities as darcy
from .rans import quantities as rans

VELOCITY = Quantity("velocity", "1", "1o", "grid", summary="velocity on the grid, box units")
VORTICITY = Quantity("vorticity", "1", "0o", "grid", summary="dv/dx - du/dy, box units")
SGS_STRESS = Quantity(
    "sgs_stress",
    "1",
    "0e+2e",
    "grid",
    summary="subgrid stress per cell, (cells, 2, 2), F[u u] - P[F[u] F[u]], box units",
)
VELOCITY_CHANGE = Quantity(
    "velocity_change",
    "1",
    "1o",
    "grid",
    summary="what each cell's velocity changes by in the interval, (cells, 2), box units",
)
KINETIC_ENERGY = Quantity("mean_kinetic_energy", "1", summary="mean of |u|^2 / 2, box units")
MEAN_VELOCITY = Quantity("mean_velocity", "1", summary="mean of a 1-D velocity, box units")
SGS_FLUX = Quantity(
    "sgs_flux", "1", "0e", "grid", summary="1-D subgrid flux, F[u^2]/2 - F[u]^2/2, box units"
)
LAYER_DEPTH = Quantity("layer_depth", "1", "0e", "grid", summary="depth h of shallow water")
MEAN_LAYER_DEPTH = Quantity("mean_layer_depth", "1", summary="mean of h: mass per area")
LAYER_ENERGY = Quantity("layer_energy", "1", summary="mean of (h |u|^2 + g eta^2) / 2")
POTENTIAL_ENSTROPHY = Quantity("potential_enstrophy", "1", summary="mean of (zeta + f)^2 / (2 h)")
ENSTROPHY = Quantity("enstrophy", "1", summary="mean of omega^2 / 2, box units")
PASSIVE_SCALAR = Quantity(
    "passive_scalar", "1", "0e", "grid", summary="passive scalars on the grid"
)
VORTICITY_VECTOR = Quantity(
    "vorticity_vector", "1", "1e", "grid", summary="curl of a 3-D velocity, box units"
)
HELICITY = Quantity("helicity", "1", "0o", summary="mean of u . omega, box units")
DISSIPATION_RATE = Quantity(
    "dissipation_rate", "1", summary="energy that viscosity turns into heat, per time, box units"
)
SUBGRID_DISSIPATION = Quantity(
    "subgrid_dissipation", "1", summary="mean of -tau_ij S_ij, energy to the closure, box units"
)
STREAM_FUNCTION = Quantity(
    "stream_function", "1", "0o", "grid", summary="psi at the cells' corners, u = d psi / dy"
)
CAVITY_EXTREMA = (
    Quantity("centreline_u_min", "1", summary="least u on the vertical line through the middle"),
    Quantity(
        "centreline_v_max", "1", summary="largest v on the horizontal line through the middle"
    ),
    Quantity("centreline_v_min", "1", summary="least v on the horizontal line through the middle"),
)
CHANNEL_FLOW = (
    Quantity("kinematic_pressure", "1", "0e", "grid", summary="pressure over density, in cells"),
    Quantity("flow_rate", "1", summary="integral of u over the channel's outflow section"),
    Quantity("obstacle_drag", "1", summary="force of the flow on obstacles along x, per density"),
    Quantity("obstacle_lift", "1", summary="force of the flow on obstacles along y, per density"),
)
PORE_PRESSURE = Quantity(
    "pore_pressure", "1", "0e", "grid", summary="p of -div(a grad p) = f, non-dimensional"
)
SEA_SURFACE_TEMPERATURE = Quantity(
    "sea_surface_temperature", "kelvin", "0e", "grid", summary="of the following month as a label"
)

plugin = Plugin(
    name="fluids",
    domain="fluids",
    summary="2-D turbulence: pseudo-spectral Navier-Stokes with a learned subgrid-stress closure",
    datasets={
        "turbulence-2d": "sfm_fluids.data.specs:TURBULENCE_2D",
        "turbulence-2d-unseen": "sfm_fluids.data.specs:TURBULENCE_2D_UNSEEN",
        "turbulence-2d-steps": "sfm_fluids.data.specs:TURBULENCE_2D_STEPS",
        "turbulence-3d": "sfm_fluids.data.specs:TURBULENCE_3D",
        "darcy-neuraloperator": "sfm_fluids.data.specs:DARCY",
        "darcy-neuraloperator-32": "sfm_fluids.data.specs:DARCY_32",
        "burgers-neuraloperator": "sfm_fluids.data.specs:BURGERS",
        "sst-ostia": "sfm_fluids.data.specs:SST_OSTIA",
        "piv-measured": "sfm_fluids.data.specs:PIV_MEASURED",
    },
    simulators={
        "cavity": "sfm_fluids.staggered.cavity:Cavity",
        "channel": "sfm_fluids.staggered.channel:Channel",
        "finite-volume-2d": "sfm_fluids.staggered.finite_volume_2d:FiniteVolume2D",
        "navier-stokes-2d": "sfm_fluids.periodic.navier_stokes_2d:NavierStokes2D",
        "navier-stokes-3d": "sfm_fluids.periodic.navier_stokes_3d:NavierStokes3D",
        "les-2d": "sfm_fluids.periodic.les_2d:LargeEddy2D",
        "les-3d": "sfm_fluids.periodic.les_3d:LargeEddy3D",
        "burgers": "sfm_fluids.periodic.burgers:Burgers",
        "kuramoto-sivashinsky": "sfm_fluids.periodic.kuramoto_sivashinsky:KuramotoSivashinsky",
        "shallow-water": "sfm_fluids.periodic.shallow_water:ShallowWater",
        "rans-channel": "sfm_fluids.rans.channel:RansChannel",
        "darcy": "sfm_fluids.darcy.flow:Darcy",
    },
    encoders={
        "patches": "sfm_fluids.patches.encoder:Patches",
        "flow": "sfm_fluids.patches.flow_encoder:FlowPatches",
    },
    heads={
        "sgs_stress": "sfm_fluids.patches.stress_head:StressHead",
        "velocity_change": "sfm_fluids.patches.change_head:ChangeHead",
    },
    metrics={
        "sgs_stress.relative_error": "sfm_fluids.evaluation.metrics:relative_error",
        "sgs_stress.correlation": "sfm_fluids.evaluation.metrics:correlation",
    },
    readers={
        ".h5,.hdf5": "sfm_fluids.data.readers:read_hdf5",
        ".npz": "sfm_fluids.data.readers:read_npz",
        "object:numpy.ndarray": "sfm_fluids.data.readers:read_array",
    },
    quantities=(
        PORE_PRESSURE,
        SEA_SURFACE_TEMPERATURE,
        VELOCITY,
        VORTICITY,
        STREAM_FUNCTION,
        *CAVITY_EXTREMA,
        *CHANNEL_FLOW,
        SGS_STRESS,
        VELOCITY_CHANGE,
        KINETIC_ENERGY,
        ENSTROPHY,
        PASSIVE_SCALAR,
        VORTICITY_VECTOR,
        HELICITY,
        DISSIPATION_RATE,
        SUBGRID_DISSIPATION,
        MEAN_VELOCITY,
        SGS_FLUX,
        LAYER_DEPTH,
        MEAN_LAYER_DEPTH,
        LAYER_ENERGY,
        POTENTIAL_ENSTROPHY,
        *rans.ALL,
        *darcy.ALL,
    ),
    citations=(
        "https://doi.org/10.1063/1.1761178",  # Harlow and Welch 1965, staggered grid
        "https://doi.org/10.1006/jcph.2002.6995",  # Cox and Matthews 2002, ETDRK4
        "https://doi.org/10.1175/1520-0493(1963)091<0099:GCEWTP>2.3.CO;2",  # Smagorinsky 1963
        "https://doi.org/10.1017/S002211207900001X",  # Clark, Ferziger, Reynolds 1979
        "https://doi.org/10.1063/1.857955",  # Germano, Piomelli, Moin, Cabot 1991
    ),
    requires=("h5py", "matplotlib"),
)
