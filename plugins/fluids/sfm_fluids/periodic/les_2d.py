"""`fluids/les-2d`: two-dimensional flow on a grid too coarse for it, with a subgrid closure."""

from __future__ import annotations

from typing import Any, ClassVar

from sfm.simulate import Parameter, Setting
from sfm_fluids.closures.built_in import FILTER_RATIO, SUBGRID
from sfm_fluids.periodic.flow_state import FlowState
from sfm_fluids.periodic.large_eddy import CITATIONS, LargeEddy
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.quantities import SUBGRID_DISSIPATION


class LargeEddy2D(LargeEddy, NavierStokes2D):
    """Large-eddy simulation in two dimensions: Navier-Stokes for the filtered velocity.

        du/dt + u . grad u = -grad p + nu lap u - alpha u + f - div tau,   div u = 0

    The solver, its boundary conditions, units and settings are those of `fluids/navier-stokes-2d`;
    what is added is the choice of the subgrid stress tau:

    - `subgrid="smagorinsky"`: -2 (C h)^2 |S| S, C = `smagorinsky_constant`;
    - `subgrid="dynamic-smagorinsky"`: the same with C from Germano's identity, clipped at 0;
    - `subgrid="gradient"`: Clark's (r h)^2 / 12 G G^T, r = `filter_ratio`; exchanges no energy in
      two dimensions, so it does not stabilise;
    - `subgrid="none"`: none;
    - `closure`: any module `(velocity (..., 2, H, W), spacing) -> tau (..., 2, 2, H, W)`, such as
      `model.closure("fluids")` of a model trained on `sgs_stress`. It replaces the built-in one.

    Good values: Kolmogorov turbulence at nu = 1e-4 to 1e-3 on 32^2 to 64^2 points, dt = 0.02.

    Limits: periodic box, square cells. Energy flows to large scales in two dimensions, so that
    eddy viscosities damp what they should not; look at the spectrum.

    Besides the observables of the parent: `subgrid_dissipation`, the mean of -tau_ij S_ij.

    Sources: A. Leonard, Adv. Geophys. 18A, 237 (1974), the filtered equations; J. Smagorinsky, Mon.
    Weather Rev. 91, 99 (1963); M. Germano et al., Phys. Fluids A 3, 1760 (1991).
    """

    part: ClassVar[str] = "fluids/les-2d"
    axes: ClassVar[int] = 2
    summary: ClassVar[str] = "large-eddy simulation in 2-D, periodic, with a choice of closures"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        *NavierStokes2D.parameters_spec,
        FILTER_RATIO,
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = tuple(
        SUBGRID if s.name == "subgrid" else s for s in NavierStokes2D.settings_spec
    )
    observables = (  # type: ignore[assignment]
        *NavierStokes2D.observables,
        SUBGRID_DISSIPATION,
    )
    citations = (  # type: ignore[assignment]
        *NavierStokes2D.citations,
        *CITATIONS,
    )

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[NavierStokes2D, FlowState]:
        """A forced random flow on 16 x 16 points with a constant eddy-viscosity coefficient.

        The dynamic one is not smooth where it is clipped, so it has no order of accuracy there.
        """
        case = {"grid": 16, "dt": 0.05, "viscosity": 0.01, "hyperviscosity_power": 2}
        simulator = cls(**{**case, "subgrid": "smagorinsky", **values})
        return simulator, simulator.state()
