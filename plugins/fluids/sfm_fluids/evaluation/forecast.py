"""How far ahead a surrogate sees: rollouts over stored trajectories, beside simple forecasts.

Units are those of the data: lengths of a box of 2 pi, forces of amplitude 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm_fluids.box import lengths
from sfm_fluids.evaluation.fields import BANDS, band_rmse, correlation, nrmse, vrmse
from sfm_fluids.flows.trajectories import trajectories
from sfm_fluids.patches.surrogate import velocities
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.spectral.grid_2d import Grid, vorticity

Forecast = Callable[[Sample, int], Float[Tensor, "steps 2 H W"]]


def persistence(sample: Sample, steps: int) -> Float[Tensor, "{steps} 2 H W"]:
    """(steps, 2, H, W): nothing changes."""
    field = torch.tensor(sample.fields["velocity"], dtype=torch.float64)
    return field.expand(steps, *field.shape)


def coarse_solver(
    sample: Sample, steps: int, *, closure: nn.Module | None = None, substeps: int = 8
) -> Float[Tensor, "{steps} 2 H W"]:
    """(steps, 2, H, W): the pseudo-spectral solver on the sample's own grid."""
    field = torch.tensor(sample.fields["velocity"], dtype=torch.float64)
    height, width = field.shape[-2:]
    length = lengths(sample, 2) or {"x": float(width), "y": float(height)}
    grid = Grid(height, width, length["y"], length["x"])
    force = torch.tensor(sample.fields["force"], dtype=torch.float64)
    sim = NavierStokes2D(
        height=height,
        width=width,
        length_x=grid.length_x,
        length_y=grid.length_y,
        viscosity=sample.conditions["viscosity"],
        drag=sample.conditions["drag"],
        dt=sample.conditions["interval"] / substeps,
        force_curl=vorticity(force, grid),
        closure=closure,
    )
    state, fields = sim.from_velocity(field), []
    with torch.no_grad():
        for _ in range(steps):
            state = sim(state, substeps)
            fields.append(sim.velocity(state)[0])
    return torch.stack(fields)


def scores(
    samples: Iterable[Sample], forecasts: Mapping[str, Forecast]
) -> dict[str, dict[str, Float[Tensor, " ..."]]]:
    """Errors of forecasts from each trajectory's first state, means over trajectories.

    Args:
        samples: of `turbulence-2d-steps`; trajectories of equal length.
        forecasts: by name; (sample, steps) -> velocities (steps, 2, H, W).

    Returns:
        by forecast, each (steps,) unless said: `vrmse` and `nrmse` (per time step), `nrmse_global`
        (), `vorticity_correlation`, `band_rmse` (steps, 3), `energy_ratio` and `enstrophy_ratio`
        (forecast over truth).
    """
    groups = list(trajectories(samples).values())
    table: dict[str, dict[str, Tensor]] = {}
    for name, forecast in forecasts.items():
        rows = [_row(group, forecast) for group in groups]
        table[name] = {key: torch.stack([row[key] for row in rows]).mean(0) for key in rows[0]}
    return table


def _row(group: list[Sample], forecast: Forecast) -> dict[str, Tensor]:
    exact = velocities(group)[1:]
    predicted = forecast(group[0], len(exact)).to(exact)
    height, width = exact.shape[-2:]
    grid = Grid(height, width, float(height), float(width))
    curls = [vorticity(f, grid) for f in (predicted, exact)]
    energy = [f.square().sum(1).mean((-2, -1)) for f in (predicted, exact)]
    enstrophy = [c.square().mean((-2, -1)) for c in curls]
    return {
        "vrmse": vrmse(predicted, exact).mean(1),
        "nrmse": nrmse(predicted.flatten(1, 2), exact.flatten(1, 2)),
        "nrmse_global": nrmse(predicted.flatten(1, 2), exact.flatten(1, 2), time=0),
        "vorticity_correlation": correlation(*curls),
        "band_rmse": band_rmse(predicted, exact, bands=BANDS).square().sum(1).sqrt(),
        "energy_ratio": energy[0] / energy[1],
        "enstrophy_ratio": enstrophy[0] / enstrophy[1],
    }
