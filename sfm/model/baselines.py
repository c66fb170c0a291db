"""Classical energies beneath a model's: it learns the difference, and says the sum.

They enter where the network's energy does (`sfm.model.network`), so that forces and stress,
training, predictions, calculators, closures and engines all have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.config import ModelConfig
from sfm.data.systems import Systems
from sfm.data.tokens import Tokens
from sfm.nn.derive import attach, derive
from sfm.registry import find

if TYPE_CHECKING:
    from sfm.simulate.base import Simulator


class Baselines:
    """The simulators that a config names, by context; no part of the model's weights.

    Args:
        config: of the model.

    Raises:
        PluginError: a simulator's plugin is missing.
        InputError: a parameter or setting that it does not have.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._simulators: dict[int, Simulator] = {}
        self._conditions: dict[str, tuple[str, ...]] = {}
        for spec in config.baselines:
            simulator = find("simulators", spec.simulator).load()(**spec.values)
            context = config.context(spec.encoder, spec.level)
            self._simulators[context] = simulator.requires_grad_(False)
            self._conditions[spec.encoder] = find("encoders", spec.encoder).load().conditions

    def knows(self, context: int) -> bool:
        """Whether there is a baseline at this (encoder, level)."""
        return context in self._simulators

    def energy(self, encoder: str, tokens: Tokens) -> Float[Tensor, " S"] | None:
        """(S,) float64 energies in eV, zero where there is no baseline; None if nowhere.

        Differentiable in positions and cells.

        Raises:
            InputError: systems that the simulator is not for.
        """
        if not self._simulators:  # else every step of every model would wait for its device here
            return None
        chosen = [c for c in tokens.context.unique().tolist() if self.knows(c)]
        if not chosen:
            return None
        total = torch.zeros(tokens.n_systems, dtype=torch.float64, device=tokens.positions.device)
        for context in chosen:
            systems = torch.nonzero(tokens.context == context).squeeze(1)
            energies = self._of_context(context, encoder, tokens, systems)
            total = total.index_add(0, systems, energies)
        return total

    def _of_context(self, context: int, encoder: str, tokens: Tokens, systems: Tensor) -> Tensor:
        """(s,) of these systems, all at one context."""
        place = torch.full_like(tokens.context, -1)
        place[systems] = torch.arange(len(systems), device=place.device)
        rows = place[tokens.system] >= 0
        columns = dict(
            zip(self._conditions[encoder], tokens.conditions.double().unbind(1), strict=True)
        )
        none = tokens.conditions.new_zeros(tokens.n_systems, dtype=torch.float64)
        stated = {name: columns.get(name, none)[systems] for name in ("charge", "spin")}
        simulator = self._simulators[context].to(tokens.positions.device)
        energies: Tensor = simulator.baseline(
            Systems(
                tokens.positions[rows].double(),
                tokens.cell[systems].double(),
                tokens.types[rows],
                place[tokens.system[rows]],
                stated,
            )
        )
        return energies.double()

    def labels(self, encoder: str, tokens: Tokens) -> dict[str, np.ndarray]:
        """What one system's labels hold of the theory at its context, which has to have one.

        `energy` () eV, `forces` (N, 3) eV/angstrom and, of periodic systems, `stress` (3, 3)
        eV/angstrom^3.

        Raises:
            InputError: a system that the simulator is not for.
        """
        periodic = bool(tokens.cell.any())
        with torch.enable_grad():
            moved, handle = attach(tokens, stress=periodic)
            energy = self.energy(encoder, moved)
            assert energy is not None
            (slopes,) = derive([energy], [handle], create_graph=False)
        values = {"energy": energy.detach()[0], "forces": slopes["forces"]}
        if periodic:
            values["stress"] = slopes["stress"][0]
        return {name: value.cpu().double().numpy() for name, value in values.items()}
