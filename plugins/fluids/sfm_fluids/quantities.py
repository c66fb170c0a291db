"""The quantities that this plugin declares. Nothing heavy is imported here."""

from __future__ import annotations

from sfm.quantity import Quantity

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
# averaged channel flow, in wall units
CHANNEL_PROFILES = (
    Quantity("wall_distance", "1", per="grid", summary="y+ = y u_tau / nu of a channel's nodes"),
    Quantity("velocity_profile", "1", per="grid", summary="U+ = U / u_tau, averaged over time"),
    Quantity("turbulent_viscosity", "1", per="grid", summary="nu_t / nu"),
    Quantity("viscous_shear_stress", "1", per="grid", summary="dU+/dy+, in wall stresses"),
    Quantity("reynolds_shear_stress", "1", per="grid", summary="-<u'v'> / u_tau^2"),
    Quantity("turbulent_kinetic_energy", "1", per="grid", summary="k / u_tau^2"),
    Quantity("turbulent_dissipation", "1", per="grid", summary="epsilon nu / u_tau^4"),
    Quantity("bulk_velocity", "1", summary="velocity averaged over the section, in u_tau"),
    Quantity("friction_coefficient", "1", summary="wall stress over rho U_bulk^2 / 2"),
)
# Darcy flow, besides the pore pressure
DARCY_FLOW = (
    Quantity("permeability", "1", per="grid", summary="a of -div(a grad p) = f"),
    Quantity("darcy_velocity", "1", "1o", "grid", summary="-a grad p, at cell centres"),
    Quantity("boundary_flow", "1", summary="flow out through left, right, bottom, top, (4,)"),
)
# on the nodes of a mesh
MESH_POINTS = Quantity("mesh_points", "1", "1o", "grid", summary="places of a mesh's nodes, (N, 2)")
MESH_SOLUTION = Quantity("mesh_solution", "1", per="grid", summary="u of a scalar equation, (N,)")
MESH_INTEGRAL = Quantity("mesh_integral", "1", summary="integral of u over the mesh")
MESH_DISPLACEMENT = Quantity(
    "mesh_displacement", "1", "1o", "grid", summary="displacement of an elastic body, (N, 2)"
)
STRAIN_ENERGY = Quantity("strain_energy", "1", summary="elastic energy per thickness")
TIP_DISPLACEMENT = Quantity(
    "tip_displacement", "1", "1o", summary="displacement of the middle of the loaded side, (2,)"
)
MESH_VELOCITY = Quantity("mesh_velocity", "1", "1o", "grid", summary="velocity, (N, 2)")
MESH_PRESSURE = Quantity("mesh_pressure", "1", per="grid", summary="pressure at corners, (n,)")
STOKES_DISSIPATION = Quantity(
    "stokes_dissipation", "1", summary="nu times the integral of |grad u|^2"
)
ON_MESHES = (
    MESH_POINTS,
    MESH_SOLUTION,
    MESH_INTEGRAL,
    MESH_DISPLACEMENT,
    STRAIN_ENERGY,
    TIP_DISPLACEMENT,
    MESH_VELOCITY,
    MESH_PRESSURE,
    STOKES_DISSIPATION,
)
ON_AIRFOILS = (
    Quantity("lift_coefficient", "1", summary="lift per dynamic pressure and chord"),
    Quantity("drag_coefficient", "1", summary="drag per dynamic pressure and chord"),
    Quantity(
        "moment_coefficient", "1", summary="pitching moment per dynamic pressure and chord squared"
    ),
)

ALL = (
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
    *CHANNEL_PROFILES,
    *DARCY_FLOW,
    *ON_MESHES,
    *ON_AIRFOILS,
)
