"""Batch axes of physical parameters: what a simulator with one value per flow must agree on."""

from __future__ import annotations

import torch

from sfm.errors import InputError
from sfm.simulate import Simulator


def parameter_batch(simulator: Simulator, *more: torch.Size) -> torch.Size:
    """The batch axes that the parameters, () or (B,) each, and `more` have together.

    Raises:
        InputError: they do not broadcast.
    """
    shapes = {p.name: getattr(simulator, p.name).shape for p in simulator.parameters_spec}
    try:
        batch: torch.Size = torch.broadcast_shapes(*shapes.values(), *more)
        return batch
    except RuntimeError:
        given = [f"{name} {tuple(shape)}" for name, shape in shapes.items() if shape]
        given += [f"a field {tuple(shape)}" for shape in more if shape]
        raise InputError(f"{simulator.part}: batch axes do not match: {', '.join(given)}") from None


def check_one_value(simulator: Simulator) -> None:
    """Refuse parameters with a batch axis, which would be taken for one along x.

    Raises:
        InputError: a parameter has several values.
    """
    for parameter in simulator.parameters_spec:
        shape = tuple(getattr(simulator, parameter.name).shape)
        if shape:
            raise InputError(
                f"{simulator.part}: {parameter.name} has shape {shape}, but all flows of a batch "
                "share one value here; make one simulator per value"
            )
