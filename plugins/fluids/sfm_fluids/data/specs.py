"""The datasets of this plugin. Nothing heavy is imported here."""

from __future__ import annotations

from sfm.data.spec import DatasetSpec

_ORIGIN = (
    "own direct numerical simulation with the solver of fluids/navier-stokes-2d (pseudo-spectral, "
    "ETDRK4; float64, on 256^2 points float32), filtered in float64 with a Gaussian of three "
    "coarse spacings and a sharp cut-off"
)
_CITATION = ("made with sfm-hub, plugin fluids: datasets/turbulence-2d/build.py",)
_NEURALOPERATOR = "neuraloperator 0.3.0 (wheel on PyPI), neuralop/datasets/data/"
# the wheel's LICENSE file is MIT; its metadata say "Modified BSD"
_NEURALOPERATOR_LICENCE = "MIT"
_LI = "Z. Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, 2021"
_KOSSAIFI = "J. Kossaifi et al., A Library for Learning Neural Operators, arXiv:2412.10354"

TURBULENCE_2D = DatasetSpec(
    name="turbulence-2d",
    domain="fluids",
    summary="filtered 2-D turbulence and sheared flow with exact subgrid stress, Re 125 to 1000",
    encoder="fluids/patches",
    quantities=("sgs_stress",),
    levels=("DNS",),
    licence="CC0-1.0",
    origin=_ORIGIN,
    citation=_CITATION,
    length_unit="1",
)

TURBULENCE_2D_UNSEEN = DatasetSpec(
    name="turbulence-2d-unseen",
    domain="fluids",
    summary="the same flows at Re 700 and 2000, which no model has trained on",
    encoder="fluids/patches",
    quantities=("sgs_stress",),
    levels=("DNS",),
    licence="CC0-1.0",
    origin=_ORIGIN,
    citation=_CITATION,
    length_unit="1",
    held_out=True,
)

TURBULENCE_2D_STEPS = DatasetSpec(
    name="turbulence-2d-steps",
    domain="fluids",
    summary="filtered 2-D turbulence and what its velocity changes by in 0.1, Re 125, 250, 500",
    encoder="fluids/flow",
    quantities=("velocity_change",),
    levels=("DNS",),
    licence="CC0-1.0",
    origin=_ORIGIN,
    citation=("made with sfm-hub, plugin fluids: datasets/turbulence-2d-steps/build.py",),
    length_unit="1",
)

TURBULENCE_3D = DatasetSpec(
    name="turbulence-3d",
    domain="fluids",
    summary="filtered 3-D flows on 16^3 points with exact subgrid stress, Re 50 to 200",
    quantities=("sgs_stress",),
    levels=("DNS",),
    licence="CC0-1.0",
    origin=(
        "own direct numerical simulation with fluids/navier-stokes-3d (pseudo-spectral, ETDRK4, "
        "64^3 points, float32), filtered in float64 with a Gaussian of three coarse spacings and a "
        "sharp cut-off"
    ),
    citation=("made with sfm-hub, plugin fluids: datasets/turbulence-3d/build.py",),
    length_unit="1",
)

DARCY = DatasetSpec(
    name="darcy-neuraloperator",
    domain="fluids",
    summary="Darcy flow: permeability of two values to pressure, 16 x 16",
    quantities=("pore_pressure",),
    levels=("finite-difference",),
    licence=_NEURALOPERATOR_LICENCE,
    origin=_NEURALOPERATOR + "darcy_train_16.pt, darcy_test_16.pt",
    citation=(_LI, _KOSSAIFI),
    length_unit="1",
)

DARCY_32 = DatasetSpec(
    name="darcy-neuraloperator-32",
    domain="fluids",
    summary="the test cases of darcy-neuraloperator on 32 x 32 points: transfer to a finer grid",
    quantities=("pore_pressure",),
    levels=("finite-difference",),
    licence=_NEURALOPERATOR_LICENCE,
    origin=_NEURALOPERATOR + "darcy_test_32.pt",
    citation=(_LI, _KOSSAIFI),
    length_unit="1",
    held_out=True,
)

BURGERS = DatasetSpec(
    name="burgers-neuraloperator",
    domain="fluids",
    summary="Burgers' equation, viscosity 0.01: 1200 random fields and their 16 later states",
    quantities=("velocity",),
    levels=("simulation",),
    licence=_NEURALOPERATOR_LICENCE,
    origin=_NEURALOPERATOR + "burgers_lowres.pt",
    citation=(_LI, _KOSSAIFI),
    length_unit="1",
)

SST_OSTIA = DatasetSpec(
    name="sst-ostia",
    domain="fluids",
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
    length_unit="1",
)

PIV_MEASURED = DatasetSpec(
    name="piv-measured",
    domain="fluids",
    summary="measured velocities (soap film, air jet): predict the vectors that were withheld",
    quantities=("velocity",),
    levels=("PIV",),
    licence="BSD-3-Clause",
    origin="pivpy 0.4.0 (wheel on PyPI), pivpy/data/Insight/*.vec and PIVMAT_jet/*.VC7",
    citation=(
        "A. Liberzon et al., PIVPy, https://github.com/alexlib/pivpy",
        "F. Moisy, PIVMat toolbox: jet measured at laboratory FAST, Univ. Paris-Sud, CNRS",
    ),
    length_unit="1",
    held_out=True,
)
