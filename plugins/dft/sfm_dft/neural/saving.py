"""Learned functionals as repositories: config.json and model.safetensors, one member or several.

`sfm push FOLDER owner/name` publishes such a folder, `load("owner/name")` reads it again. Several
members (seeds) make an ensemble, whose energy is the mean of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfm.data.replacing import replacing
from sfm.errors import HubError, InputError
from sfm.nn.bounded import BuiltWithin, checked_options
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
    from safetensors.torch import save_file

    from sfm.version import __version__

    ensemble = Ensemble(members)  # checks that they belong together
    folder = Path(folder)
    state = {key: _narrow(value) for key, value in ensemble.state_dict().items()}
    config = {
        "model_type": "sfm",
        "architectures": [type(members[0]).__name__],
        "format": FORMAT,
        "sfm_version": __version__,
        "name": folder.resolve().name,
        "functional": {**members[0].options, "seed": [m.options["seed"] for m in members]},
        "training": info,
    }
    text = json.dumps(config, indent=2, ensure_ascii=False)
    with replacing(folder, stale=("model*.safetensors*",)) as scratch:
        save_file(state, str(scratch / "model.safetensors"), metadata={"format": "pt"})
        (scratch / "config.json").write_text(text + "\n", encoding="utf-8")
    return folder


def _narrow(values: torch.Tensor) -> torch.Tensor:
    """In single precision where that loses nothing, as after training in it."""
    values = values.detach().contiguous()
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
    from safetensors.torch import load_file

    from sfm.hub.files import read_config, tensor_shapes
    from sfm.hub.resolve import resolve

    folder = resolve(name, **options)
    config = read_config(folder)
    kinds, chosen = config.get("architectures"), config.get("functional")
    kind = str(kinds[0]) if isinstance(kinds, list) and kinds else ""
    if kind not in KINDS or not isinstance(chosen, dict):
        raise HubError(f"{folder} holds no density functional but {kind or 'something else'!r}")
    version = config.get("format", 0)
    if not isinstance(version, int) or version > FORMAT:
        raise HubError(f"{folder} was written by a newer sfm: upgrade with pip install -U sfm-hub")
    path = folder / "model.safetensors"
    try:
        with BuiltWithin(tensor_shapes(path), str(folder)):
            options = checked_options(chosen)
            members = [KINDS[kind](**{**options, "seed": seed}) for seed in options["seed"]]
        ensemble = Ensemble(members)
        ensemble.load_state_dict(load_file(str(path)), strict=True)
    except HubError:
        raise
    except Exception as error:  # whatever a constructor says of options that cannot be
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise HubError(f"{folder}: weights do not fit config.json ({reason})") from error
    ensemble.requires_grad_(False)
    ensemble.eval()
    return members[0] if len(members) == 1 else ensemble
