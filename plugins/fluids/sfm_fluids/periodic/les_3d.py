"""`fluids/les-3d`: three-dimensional flow on a grid too coarse for it, with a subgrid closure."""

from __future__ import annotations

from typing import Any, ClassVar

from sfm.simulate import Parameter, Setting
from sfm_fluids.closures.built_in import FILTER_RATIO, SMAGORINSKY_CONSTANT, SUBGRID
from sfm_fluids.periodic.large_eddy import CITATIONS, LargeEddy
from sfm_fluids.periodic.navier_stokes_3d import FlowState3D, NavierStokes3D
from sfm_fluids.quantities import SUBGRID_DISSIPATION


class LargeEddy3D(LargeEddy, NavierStokes3D):
    """Large-eddy simulation in three dimensions: Navier-Stokes for the filtered velocity.

        du/dt + div(u u + tau) = -grad p + nu lap u + f,   div u = 0

    The solver, its boundary conditions, units and settings are those of `fluids/navier-stokes-3d`;
    what is added is the choice of the subgrid stress tau:

    - `subgrid="smagorinsky"`: -2 (C h)^2 |S| S, C = `smagorinsky_constant`;
    - `subgrid="dynamic-smagorinsky"`: the same with C from Germano's identity, clipped at 0;
    - `subgrid="gradient"`: Clark's (r h)^2 / 12 G G^T, r = `filter_ratio`; unstable in long runs;
    - `subgrid="none"`: none;
    - `closure`: any module `(velocity (..., 3, D, H, W), spacing) -> tau (..., 3, 3, D, H, W)`. It
      replaces the built-in one.

    Good values: the Taylor-Green vortex at Re = 1600 (nu = 1/1600) on 32^3 points with dt = 0.05,
    dynamic model.

    Limits: periodic box, cubic cells; one dynamic constant for the whole box.

    Besides the observables of the parent: `subgrid_dissipation`, the mean of -tau_ij S_ij.
    """

    part: ClassVar[str] = "fluids/les-3d"
    axes: ClassVar[int] = 3
    summary: ClassVar[str] = "large-eddy simulation in 3-D, periodic, with a choice of closures"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        *NavierStokes3D.parameters_spec,
        SMAGORINSKY_CONSTANT,
        FILTER_RATIO,
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (*NavierStokes3D.settings_spec, SUBGRID)
    observables = (*NavierStokes3D.observables, SUBGRID_DISSIPATION)
    citations = (
        *NavierStokes3D.citations,
        *CITATIONS,
    )

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[NavierStokes3D, FlowState3D]:
        """A forced random flow on 8^3 points with a constant eddy-viscosity coefficient.

        The dynamic one is not smooth where it is clipped, so it has no order of accuracy there.
        """
        case = {"grid": 8, "dt": 0.1, "initial": "random", "peak_wavenumber": 1.5}
        simulator = cls(**{**case, "forcing": "abc", "subgrid": "smagorinsky", **values})
        return simulator, simulator.state()
