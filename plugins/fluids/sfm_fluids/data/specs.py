"""The datasets of this plugin. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sfm.data.spec import DatasetSpec

_ORIGIN = (
    "own direct numerical simulation with the solver of fluids/navier-stokes-2d (pseudo-spectral, "
    "ETDRK4; float64, on 256^2 points float32), filtered in float64 with a Gaussian of three "
    "coarse spacings and a sharp cut-off"
)
_MADE = "made with sfm-hub, plugin fluids: datasets/"
_NEURALOPERATOR = "neuraloperator 0.3.0 (wheel on PyPI), neuralop/datasets/data/"
# the wheel's LICENSE file is MIT; its metadata say "Modified BSD"
_NEURALOPERATOR_LICENCE = "MIT"
_LI = "Z. Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, 2021"
_KOSSAIFI = "J. Kossaifi et al., A Library for Learning Neural Operators, arXiv:2412.10354"

_FLOWS = partial(DatasetSpec, domain="fluids", length_unit="1")

TURBULENCE_2D = _FLOWS(
    name="turbulence-2d",
    summary="filtered 2-D turbulence and sheared flow with exact subgrid stress, Re 125 to 1000",
    encoder="fluids/patches",
    quantities=("sgs_stress",),
    levels=("DNS",),
    licence="CC0-1.0",
    origin=_ORIGIN,
    citation=(_MADE + "turbulence-2d/build.py",),
)

TURBULENCE_2D_UNSEEN = replace(
    TURBULENCE_2D,
    name="turbulence-2d-unseen",
    summary="the same flows at Re 700 and 2000, which no model has trained on",
    held_out=True,
)

TURBULENCE_2D_STEPS = replace(
    TURBULENCE_2D,
    name="turbulence-2d-steps",
    summary="filtered 2-D turbulence and what its velocity changes by in 0.1, Re 125, 250, 500",
    encoder="fluids/flow",
    quantities=("velocity_change",),
    citation=(_MADE + "turbulence-2d-steps/build.py",),
)

TURBULENCE_3D = _FLOWS(
    name="turbulence-3d",
    summary="filtered 3-D flows on 16^3 points with exact subgrid stress, Re 50 to 200",
    quantities=("sgs_stress",),
    levels=("DNS",),
    licence="CC0-1.0",
    origin=(
        "own direct numerical simulation with fluids/navier-stokes-3d (pseudo-spectral, ETDRK4, "
        "64^3 points, float32), filtered in float64 with a Gaussian of three coarse spacings and a "
        "sharp cut-off"
    ),
    citation=(_MADE + "turbulence-3d/build.py",),
)

DARCY = _FLOWS(
    name="darcy-neuraloperator",
    summary="Darcy flow: permeability of two values to pressure, 16 x 16",
    quantities=("pore_pressure",),
    levels=("finite-difference",),
    licence=_NEURALOPERATOR_LICENCE,
    origin=_NEURALOPERATOR + "darcy_train_16.pt, darcy_test_16.pt",
    citation=(_LI, _KOSSAIFI),
)

DARCY_32 = replace(
    DARCY,
    name="darcy-neuraloperator-32",
    summary="the test cases of darcy-neuraloperator on 32 x 32 points: transfer to a finer grid",
    origin=_NEURALOPERATOR + "darcy_test_32.pt",
    held_out=True,
)

BURGERS = _FLOWS(
    name="burgers-neuraloperator",
    summary="Burgers' equation, viscosity 0.01: 1200 random fields and their 16 later states",
    quantities=("velocity",),
    levels=("simulation",),
    licence=_NEURALOPERATOR_LICENCE,
    origin=_NEURALOPERATOR + "burgers_lowres.pt",
    citation=(_LI, _KOSSAIFI),
)

SST_OSTIA = _FLOWS(
    name="sst-ostia",
    summary="monthly sea-surface temperature along the equator, 2006-2010: forecast the next month",
    quantities=("sea_surface_temperature",),
    levels=("OSTIA",),
    licence="OGL-UK-3.0",
    origin="iris-sample-data 2.5.2 (wheel on PyPI), sample_data/ostia_monthly.nc, Met Office OSTIA",
    citation=(
        "C. J. Donlon et al., The Operational Sea Surface Temperature and Sea Ice Analysis (OSTIA) "
        "system, Remote Sensing of Environment 116, 140 (2012)",
        "Contains public sector information licensed under the Open Government Licence",
    ),
)

PIV_MEASURED = _FLOWS(
    name="piv-measured",
    summary="measured velocities (soap film, air jet): predict the vectors that were withheld",
    quantities=("velocity",),
    levels=("PIV",),
    licence="BSD-3-Clause",
    origin="pivpy 0.4.0 (wheel on PyPI), pivpy/data/Insight/*.vec and PIVMAT_jet/*.VC7",
    citation=(
        "A. Liberzon et al., PIVPy, https://github.com/alexlib/pivpy",
        "F. Moisy, PIVMat toolbox: jet measured at laboratory FAST, Univ. Paris-Sud, CNRS",
    ),
    held_out=True,
)

NAVIER_STOKES, ELASTIC, HEAT = "finite-element flow", "finite-element elasticity", "heat equation"

MESH_SMITHERS = _FLOWS(
    name="mesh-smithers",
    summary="finite-element snapshots on triangles: flow over a step, an elastic block, heat",
    encoder="fluids/mesh",
    quantities=("mesh_velocity", "mesh_pressure", "mesh_displacement", "mesh_solution"),
    levels=(NAVIER_STOKES, ELASTIC, HEAT),
    licence="MIT",
    origin=(
        "smithers 0.0.1 (wheel on PyPI), smithers/dataset/datasets/ navier_stokes, elastic_block "
        "and unsteady_heat; solver and units are not stated there"
    ),
    citation=("N. Demo, F. Andreuzzi, Smithers, https://github.com/mathLab/Smithers (2021)",),
    held_out=True,
)

NEURALFOIL = "NeuralFoil 0.3.3 xlarge"

AIRFOIL_POLARS = _FLOWS(
    name="airfoil-polars",
    summary="lift, drag and moment of NACA four-digit airfoils by angle and Reynolds number",
    quantities=("lift_coefficient", "drag_coefficient", "moment_coefficient"),
    levels=(NEURALFOIL,),
    licence="MIT",
    origin=(
        "computed with neuralfoil 0.3.3 (PyPI), model xlarge, which learned XFoil's answers; "
        "outlines by NACA Report 460"
    ),
    citation=("P. Sharpe, R. J. Hansman, NeuralFoil, arXiv:2503.16323 (2025)",),
    held_out=True,
)
