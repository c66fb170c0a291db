"""Fluids: differentiable flow solvers, their data, learned subgrid closures and a surrogate.

The rooms, lowest first; each imports from those before it alone:

    quantities, parameters, box    what is measured, and what a sample states of its box
    stepping     steps in time and rollouts, whatever the equation
    spectral     grids, transforms, fluxes, forces, filters in periodic boxes
    files        formats of fields
    figures      figures and films of runs
    flows        what flows start from and what drives them
    closures     classical subgrid closures
    periodic     pseudo-spectral simulators
    staggered    finite-volume simulators, with and without walls
    rans, darcy  profiles of a channel, porous media
    elements     finite elements on triangles
    patches      encoders, heads, closure and surrogate of the foundation model
    learned      closures that are trained on their own
    data         the datasets and how they are built
    evaluation   how good a closure or a surrogate is
    operators    operator learners that are no foundation model
"""

from __future__ import annotations

from sfm.plugin import Plugin
from sfm_fluids.quantities import ALL

plugin = Plugin(
    name="fluids",
    domain="fluids",
    summary="differentiable flow solvers, learned subgrid closures, a next-state surrogate",
    datasets={
        "turbulence-2d": "sfm_fluids.data.specs:TURBULENCE_2D",
        "turbulence-2d-unseen": "sfm_fluids.data.specs:TURBULENCE_2D_UNSEEN",
        "turbulence-2d-steps": "sfm_fluids.data.specs:TURBULENCE_2D_STEPS",
        "turbulence-3d": "sfm_fluids.data.specs:TURBULENCE_3D",
        "darcy-neuraloperator": "sfm_fluids.data.specs:DARCY",
        "darcy-neuraloperator-32": "sfm_fluids.data.specs:DARCY_32",
        "burgers-neuraloperator": "sfm_fluids.data.specs:BURGERS",
        "sst-ostia": "sfm_fluids.data.specs:SST_OSTIA",
        "mesh-smithers": "sfm_fluids.data.specs:MESH_SMITHERS",
        "airfoil-polars": "sfm_fluids.data.specs:AIRFOIL_POLARS",
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
        "advection-diffusion": "sfm_fluids.elements.advection_diffusion:AdvectionDiffusion",
        "elasticity": "sfm_fluids.elements.elasticity:Elasticity",
        "stokes": "sfm_fluids.elements.stokes:Stokes",
    },
    encoders={
        "patches": "sfm_fluids.patches.encoder:PatchEncoder",
        "flow": "sfm_fluids.patches.flow_encoder:FlowEncoder",
        "medium": "sfm_fluids.patches.medium_encoder:MediumEncoder",
        "line": "sfm_fluids.patches.line_encoder:LineEncoder",
        "mesh": "sfm_fluids.patches.mesh_encoder:MeshEncoder",
    },
    heads={
        "sgs_stress": "sfm_fluids.patches.stress_head:StressHead",
        "velocity_change": "sfm_fluids.patches.change_head:ChangeHead",
        "pore_pressure": "sfm_fluids.patches.pressure_head:PressureHead",
        "velocity": "sfm_fluids.patches.line_head:LineHead",
        "mesh_velocity": "sfm_fluids.patches.mesh_head:PointVector",
        "mesh_displacement": "sfm_fluids.patches.mesh_head:PointVector",
        "mesh_pressure": "sfm_fluids.patches.mesh_head:PointScalar",
        "mesh_solution": "sfm_fluids.patches.mesh_head:PointScalar",
    },
    metrics={
        "sgs_stress.relative_error": "sfm_fluids.evaluation.metrics:relative_error",
        "sgs_stress.correlation": "sfm_fluids.evaluation.metrics:correlation",
    },
    readers={
        ".h5,.hdf5": "sfm_fluids.files.readers:read_hdf5",
        ".npz,.npy": "sfm_fluids.files.readers:read_arrays",
        ".nc,.nc4,.cdf": "sfm_fluids.files.readers:read_netcdf",
        "object:numpy.ndarray": "sfm_fluids.files.readers:read_array",
        "object:xarray.core.dataarray.DataArray": "sfm_fluids.files.readers:read_dataarray",
        "object:xarray.core.dataset.Dataset": "sfm_fluids.files.readers:read_dataset",
    },
    quantities=ALL,
    citations=(
        "https://doi.org/10.1063/1.1761178",  # Harlow and Welch 1965, staggered grid
        "https://doi.org/10.1006/jcph.2002.6995",  # Cox and Matthews 2002, ETDRK4
        "https://doi.org/10.1175/1520-0493(1963)091<0099:GCEWTP>2.3.CO;2",  # Smagorinsky 1963
        "https://doi.org/10.1017/S002211207900001X",  # Clark, Ferziger, Reynolds 1979
        "https://doi.org/10.1063/1.857955",  # Germano, Piomelli, Moin, Cabot 1991
    ),
    requires=("h5py", "matplotlib"),
)
