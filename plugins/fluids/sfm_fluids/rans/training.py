"""Training an eddy viscosity through the solver, on mean velocity profiles. All in wall units."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.nn.descent import descend
from sfm_fluids.rans.channel import ChannelState, RansChannel


def profile_error(
    simulator: RansChannel,
    state: ChannelState,
    wall_distance: Float[Tensor, "B P"],
    velocity: Float[Tensor, "B P"],
) -> Float[Tensor, ""]:
    """() root mean square of U+ minus the measured (B, P) at y+ (B, P); a NaN is no measurement."""
    known = torch.isfinite(velocity)
    predicted = simulator.velocity_at(state, torch.where(known, wall_distance, 0.0))
    difference = torch.where(known, predicted - velocity, 0.0)
    return (difference.square().sum() / known.sum()).sqrt()


def train_on_profiles(
    simulator: RansChannel,
    wall_distance: Float[Tensor, "B P"],
    velocity: Float[Tensor, "B P"],
    *,
    iterations: int = 60,
    weight_decay: float = 1e-4,
) -> list[float]:
    """Adapt the closure's weights so that the solved profiles match; L-BFGS.

    Every evaluation solves the channel from the last profile and differentiates the solution
    implicitly.

    Args:
        simulator: with a closure; friction_reynolds of shape (B,).
        wall_distance: y+ (B, P).
        velocity: U+ (B, P); NaN where there is no measurement.
        iterations: of L-BFGS.
        weight_decay: of the squared weights, in the loss (mean squared error in u_tau^2).

    Returns:
        The root mean square error of each evaluation.

    Raises:
        InputError: the simulator has no closure.
        RunError: an error is not finite.
    """
    if simulator.closure is None:
        raise InputError(f"{simulator.part}: no closure to train; give closure=")
    weights = [p for p in simulator.closure.parameters() if p.requires_grad]
    history: list[float] = []
    last = simulator(simulator.state())

    def loss(step: int) -> Tensor:
        nonlocal last
        last = simulator(last)
        error = profile_error(simulator, last, wall_distance, velocity)
        history.append(float(error.detach()))
        return error.square() + weight_decay * sum(w.square().sum() for w in weights)

    optimizer = torch.optim.LBFGS(
        weights, max_iter=iterations, history_size=20, line_search_fn="strong_wolfe"
    )
    descend(simulator.closure, loss, work=simulator.part, steps=1, optimizer=optimizer)
    return history
