"""Theories beneath a model's energies: it learns the difference, and says the sum.

A theory is a simulator or another model. They enter where the network's energy does
(`sfm.model.network`), so that forces and stress, training, predictions, calculators, closures and
engines all have them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.config import BaselineSpec, ModelConfig
from sfm.data.systems import Systems
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.nn.derive import attach, derive
from sfm.registry import find

if TYPE_CHECKING:
    from sfm.model.network import Network
    from sfm.simulate.base import Simulator

Load = Callable[[BaselineSpec], "Network"]


class Theory(Protocol):
    """What gives energies of the systems of a batch."""

    def __call__(self, tokens: Tokens, systems: Tensor) -> Float[Tensor, " s"]:
        """(s,) eV of the systems with these indices."""


class Baselines:
    """The theories that a config names, by context; no part of the model's weights.

    Args:
        config: of the model.
        load: gives the model that a spec names; it is not asked before an energy is.

    Raises:
        PluginError: a simulator's plugin is missing.
        InputError: a parameter or setting that it does not have.
    """

    def __init__(self, config: ModelConfig, load: Load) -> None:
        self._theories: dict[int, Theory] = {}
        for spec in config.baselines:
            context = config.context(spec.encoder, spec.level)
            if spec.model:
                self._theories[context] = Beneath(spec, load)
            else:
                conditions = find("encoders", spec.encoder).load().conditions
                self._theories[context] = Simulated(simulator_of(spec), conditions)

    def knows(self, context: int) -> bool:
        """Whether there is a baseline at this (encoder, level)."""
        return context in self._theories

    def energy(self, tokens: Tokens) -> Float[Tensor, " S"] | None:
        """(S,) float64 energies in eV, zero where there is no baseline; None if nowhere.

        Differentiable in positions and cells.

        Raises:
            InputError: systems that the theory is not for.
            PluginError, HubError: its engine or its model is not there.
        """
        if not self._theories:  # else every step of every model would wait for its device here
            return None
        chosen = [c for c in tokens.context.unique().tolist() if self.knows(c)]
        if not chosen:
            return None
        total = torch.zeros(tokens.n_systems, dtype=torch.float64, device=tokens.positions.device)
        for context in chosen:
            systems = torch.nonzero(tokens.context == context).squeeze(1)
            energies = self._theories[context](tokens, systems)
            total = total.index_add(0, systems, energies.double())
        return total

    def labels(self, tokens: Tokens) -> dict[str, Float[np.ndarray, " ..."]]:
        """What one system's labels hold of the theory at its context, which has to have one.

        `energy` () eV, `forces` (N, 3) eV/angstrom and, of periodic systems, `stress` (3, 3)
        eV/angstrom^3.

        Raises:
            InputError, PluginError, HubError: as in `energy`; the message names the system.
        """
        periodic = bool(tokens.cell.any())
        with torch.enable_grad():
            moved, handle = attach(tokens, stress=periodic)
            try:
                energy = self.energy(moved)
            except InputError as error:
                raise type(error)(f"{', '.join(tokens.ids)}: {error}") from None
            assert energy is not None
            (slopes,) = derive([energy], [handle], create_graph=False)
        values = {"energy": energy.detach()[0], "forces": slopes["forces"]}
        if periodic:
            values["stress"] = slopes["stress"][0]
        return {name: value.cpu().double().numpy() for name, value in values.items()}


class Simulated:
    """A simulator's energies.

    Args:
        simulator: implements `Simulator.baseline`.
        conditions: names of the columns of the tokens' conditions.
    """

    def __init__(self, simulator: Simulator, conditions: tuple[str, ...]) -> None:
        self.simulator = simulator.requires_grad_(False)
        self.conditions = conditions

    def __call__(self, tokens: Tokens, systems: Tensor) -> Float[Tensor, " s"]:
        """(s,) eV."""
        place = torch.full_like(tokens.context, -1)
        place[systems] = torch.arange(len(systems), device=place.device)
        rows = place[tokens.system] >= 0
        columns = dict(zip(self.conditions, tokens.conditions.double().unbind(1), strict=True))
        none = tokens.conditions.new_zeros(tokens.n_systems, dtype=torch.float64)
        stated = {name: columns.get(name, none)[systems] for name in ("charge", "spin")}
        energies: Tensor = self.simulator.to(tokens.positions.device).baseline(
            Systems(
                tokens.positions[rows].double(),
                tokens.cell[systems].double(),
                tokens.types[rows],
                place[tokens.system[rows]],
                stated,
            )
        )
        return energies


class Beneath:
    """Energies of another model of the same encoder, in float64.

    Args:
        spec: names it.
        load: gives it.
    """

    def __init__(self, spec: BaselineSpec, load: Load) -> None:
        self.spec, self.load = spec, load
        self._model: Network | None = None

    def __call__(self, tokens: Tokens, systems: Tensor) -> Float[Tensor, " s"]:
        """(s,) eV.

        Raises:
            InputError: the model has no energy at the level, or sees another distance.
            HubError: it cannot be had, or has other weights.
        """
        model, spec = self._loaded().to(tokens.positions.device), self.spec
        cutoff = float(getattr(model.encoder(spec.encoder), "cutoff", 0.0))
        if not torch.allclose(tokens.cutoff, torch.full_like(tokens.cutoff, cutoff)):
            raise InputError(
                f"the model beneath, '{spec.model}', sees {cutoff:g} and this one "
                f"{float(tokens.cutoff[0]):g}: another model's energy needs the same cutoff"
            )
        context = model.config.context(spec.encoder, spec.model_level)
        there = tokens.to(dtype=torch.float64)
        there = there.replace(context=torch.full_like(tokens.context, context), extras={})
        values = model({spec.encoder: there}, {spec.encoder: ("energy",)})
        energies: Tensor = values[spec.encoder]["energy"][systems]
        return energies

    def _loaded(self) -> Network:
        if self._model is None:
            model = self.load(self.spec).double().requires_grad_(False).eval()
            model.config.level_of(self.spec.encoder, self.spec.model_level, "energy")
            self._model = model
        return self._model


def simulator_of(spec: BaselineSpec) -> Simulator:
    """The simulator that a spec names, with its values.

    Raises:
        PluginError: its plugin is missing.
        InputError: it gives no energy that could be a baseline, or has no such value.
    """
    from sfm.simulate.base import Simulator

    part = find("simulators", spec.simulator)
    cls = part.load()
    if getattr(cls, "baseline", None) is None or cls.baseline is Simulator.baseline:
        raise InputError(f"{part.full_name}: gives no energy that could be a baseline")
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}-of-the-baseline" for name in spec.files}
        for name, path in paths.items():
            path.write_text(spec.files[name], encoding="utf-8")
        simulator: Simulator = cls(**spec.values, **{k: str(v) for k, v in paths.items()})
    return simulator
