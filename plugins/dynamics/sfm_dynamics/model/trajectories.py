"""Training a closure through the solver on measured trajectories, by multiple shooting.

The states at the samples are unknowns beside the weights. Every interval is run from its own
unknown start, all in one batch, and

    sum (node - sample)^2 + weight sum (end of an interval - next node)^2

is minimised, so that noise is smoothed, gradients never pass through more than one interval and no
chaos or bad first guess can make a run diverge. The weights start from a fit to the slopes of
splines through the samples, which costs no run.

H. G. Bock, Recent advances in parameter identification techniques for ODE (1983),
doi:10.1007/978-1-4684-7324-7_7; with neural closures: E. M. Turan, J. Jaschke, IEEE Control Syst.
Lett. 6, 1897 (2022), doi:10.1109/LCSYS.2021.3135835.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from torch import Tensor

from sfm.errors import InputError
from sfm_dynamics.minimise import minimise
from sfm_dynamics.series import intervals
from sfm_dynamics.simulators.ode import Ode


def learn_trajectories(
    simulator: Ode,
    times: Float[Tensor, " T"],
    states: Float[Tensor, "T ... d"],
    *,
    iterations: int = 400,
    weight: float = 10.0,
    parameters: Sequence[torch.nn.Parameter] | None = None,
) -> Float[Tensor, "T ... d"]:
    """Fit the closure of an `Ode` to a trajectory by L-BFGS, in place.

    Args:
        simulator: its closure is trained; `dt` and `method` are its own.
        times: (T,) increasing, equally spaced, in the simulator's unit.
        states: (T, d), measured there, or (T, n, d) of n trajectories.
        iterations: of L-BFGS, at most, for the slopes and again for the runs.
        weight: of the intervals' ends, relative to the samples.
        parameters: what is trained; the closure's if None.

    Returns:
        The smoothed states (T, d) or (T, n, d).

    Raises:
        InputError: there is nothing to train, or times and states disagree.
    """
    if parameters is None and simulator.closure is not None:
        parameters = list(simulator.closure.parameters())
    if not parameters:
        raise InputError(f"{simulator.part}: no closure to train, and no parameters")
    if len(times) != len(states) or states.shape[-1] != simulator.dim:
        raise InputError(f"{len(times)} times, states {tuple(states.shape)}, {simulator.dim} names")
    gaps = times.diff()
    if not torch.allclose(gaps, gaps[:1].expand_as(gaps)):
        raise InputError("times of a trajectory to train on must be equally spaced")
    ((count, size),) = intervals([0.0, float(gaps[0])], simulator.dt)
    field = simulator.field()
    advance = simulator.stepper(field, size)
    spread = states.reshape(-1, states.shape[-1]).std(0)
    nodes = states.clone().requires_grad_()
    slopes = torch.from_numpy(CubicSpline(times.numpy(), states.numpy())(times.numpy(), 1))

    def off_slopes() -> Tensor:
        return ((field(states) - slopes) / spread).square().mean()

    def off_samples() -> Tensor:
        x = nodes[:-1]
        for _ in range(count):
            x = advance(x)
        ends = ((x - nodes[1:]) / spread).square().mean()
        return ((nodes - states) / spread).square().mean() + weight * ends

    minimise(off_slopes, parameters, iterations)
    minimise(off_samples, [*parameters, nodes], iterations)
    return nodes.detach()
