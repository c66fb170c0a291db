"""The datasets of this plugin. Nothing heavy is imported here."""

from __future__ import annotations

from sfm.data.spec import DatasetSpec

_ORIGIN = (
    "own direct numerical simulation with fluids/navier-stokes-2d (pseudo-spectral, ETDRK4, "
    "float64), filtered with a Gaussian of three coarse spacings and a sharp cut-off"
)
_CITATION = ("made with sfm-hub, plugin fluids: datasets/turbulence-2d/build.py",)

TURBULENCE_2D = DatasetSpec(
    name="turbulence-2d",
    domain="fluids",
    summary="filtered 2-D turbulence with exact subgrid stress, Re 125, 250, 500, 1000",
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
