"""Learned functionals as repositories: config.json and model.safetensors, one member or several.

`sfm push FOLDER owner/name` publishes such a folder, `load("owner/name")` reads it again. Several
members (seeds) make an ensemble, whose energy is the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfm.errors import InputError
from sfm.model.pretrained import pretrained_module
from sfm.nn.bounded import checked_options
from sfm.nn.saving import save_tensors
from sfm.version import __version__
from sfm_dft.neural.functional import KINDS as POINTWISE
from sfm_dft.neural.functional import NeuralFunctional
from sfm_dft.neural.nonlocality import NonlocalGGA, NonlocalMetaGGA
from sfm_dft.xc.contract import Functional, Rung, XcEnergy
from sfm_dft.xc.density import GridDensity

FORMAT = 1
KINDS: dict[str, type[NeuralFunctional]] = {
    **POINTWISE,
    "NonlocalGGA": NonlocalGGA,
    "NonlocalMetaGGA": NonlocalMetaGGA,
}


class Ensemble(Functional):
    """The mean of learned functionals of one kind; `members` holds them."""

    def __init__(self, members: Sequence[NeuralFunctional]) -> None:
        super().__init__()
        if not members:
            raise InputError("an ensemble needs at least one member")
        first = members[0]
        if any(type(m) is not type(first) for m in members) or any(
            {**m.options, "seed": 0} != {**first.options, "seed": 0} for m in members
        ):
            raise InputError("the members of an ensemble differ in kind or options")
        self.rung: Rung = first.rung
        self.exact_exchange = first.exact_exchange
        self.pointwise = first.pointwise
        self.members = nn.ModuleList(members)

    def forward(self, density: GridDensity) -> XcEnergy:
        energies = [member(density) for member in self.members]
        return XcEnergy(
            torch.stack([e.exchange for e in energies]).mean(0),
            torch.stack([e.correlation for e in energies]).mean(0),
        )


def save(members: Sequence[NeuralFunctional], folder: str | Path, **info: Any) -> Path:
    """Write the folder; `info` (data, seeds, errors) goes into config.json as `training`."""
    ensemble = Ensemble(members)  # checks that they belong together
    folder = Path(folder)
    config = {
        "model_type": "sfm",
        "architectures": [type(members[0]).__name__],
        "format": FORMAT,
        "sfm_version": __version__,
        "name": folder.resolve().name,
        "functional": {**members[0].options, "seed": [m.options["seed"] for m in members]},
        "training": info,
    }
    state = {key: _narrow(value) for key, value in ensemble.state_dict().items()}
    return save_tensors(state, folder, config)


def _narrow(values: torch.Tensor) -> torch.Tensor:
    """In single precision where that loses nothing, as after training in it."""
    if not values.is_floating_point():
        return values
    short = values.float()
    return short if bool((short.double() == values).all()) else values


def load(name: str | Path, **options: Any) -> Functional:
    """A learned functional of a folder, a bundled name or a Hub id `owner/name[@revision]`.

    Options as `sfm.hub.resolve.resolve` has. One member is a `NeuralFunctional`, several are an
    `Ensemble`.

    Raises:
        InputError: nothing has this name.
        HubError: refused, damaged, or another kind of model.
    """
    ensemble = pretrained_module(
        name, _ensemble, kinds=KINDS, what="density functional", **options
    ).requires_grad_(False)
    ensemble.eval()
    first = ensemble.members[0]
    return first if len(ensemble.members) == 1 else ensemble  # type: ignore[return-value]


def _ensemble(config: dict[str, Any]) -> Ensemble:
    version = config.get("format", 0)
    if not isinstance(version, int) or version > FORMAT:
        raise InputError(f"{config.get('name')}: of a newer sfm; pip install -U sfm-hub")
    options = checked_options(config.get("functional"))
    kind = KINDS[config["architectures"][0]]
    return Ensemble([kind(**{**options, "seed": seed}) for seed in options["seed"]])
