"""Encoders: bodies in space as tokens, and the variables of a state without bodies as tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sfm.data.neighbours import neighbour_list
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.nn.encoder import Encoder, PointEncoder
from sfm_dynamics.model.features import mass_features

if TYPE_CHECKING:
    from sfm.model import FoundationModel


class BodyEncoder(PointEncoder):
    """One token per body, with its mass; edges between bodies closer than `cutoff`.

    Units are those of molecules: angstrom, amu, eV. A sample without masses has masses of 1 amu.

    The cutoff is also the length over which energies are smooth: what they depend on is sin(k pi r
    / cutoff) / r, k = 1, 2, ... Bodies are few, so it may be several times their largest distance.
    Then an energy goes on smoothly beyond the distances that it was trained on; with a cutoff that
    is hardly longer it turns there. Measured: `docs/theory/dynamics/learned.md`.
    """

    part: ClassVar[str] = "dynamics/bodies"
    domain: ClassVar[str] = "dynamics"
    raw: ClassVar[tuple[int, int, int]] = (2, 0, 0)
    default_cutoff: ClassVar[float] = 8.0
    token: ClassVar[str] = "body"

    def accepts(self, sample: Sample) -> bool:
        return super().accepts(sample) and len(sample.positions) > 0

    def features(self, sample: Sample) -> dict[str, Any]:
        masses = np.ones(len(sample.types)) if sample.masses is None else sample.masses
        return {"scalars": mass_features(torch.from_numpy(np.array(masses)))}

    def closure(
        self, model: FoundationModel, *, level: str | None = None, **options: Any
    ) -> nn.Module:
        """The model's energy, for `dynamics/bodies`; see `sfm_dynamics.model.closure`."""
        from sfm_dynamics.model.closure import BodyClosure

        return BodyClosure(model, self.part, level=level, **options)


class VariableEncoder(Encoder):
    """One token per variable of a state (d,), for systems that have no bodies.

    Variables have no place in space: they stand on a line, one length apart, in the order in which
    the system names them, and see each other within `cutoff` places; the type is the place. The
    level of theory says which system it is.

    Field: `state` (d,), d at most 118.
    """

    part: ClassVar[str] = "dynamics/variables"
    domain: ClassVar[str] = "dynamics"
    raw: ClassVar[tuple[int, int, int]] = (3, 0, 0)
    fields: ClassVar[tuple[str, ...]] = ("state",)
    default_cutoff: ClassVar[float] = 6.5
    token: ClassVar[str] = "variable"

    def tokenize(self, sample: Sample) -> Tokens:
        if "state" not in sample.fields:
            raise InputError(f"{sample.id}: no field 'state', which encoder '{self.part}' needs")
        values = np.asarray(sample.fields["state"], dtype=np.float64)
        if values.ndim != 1 or not 0 < len(values) <= 118:
            raise InputError(
                f"{sample.id}: a state of shape {values.shape}; '{self.part}' takes 1 to 118 "
                "variables"
            )
        x = torch.from_numpy(np.array(values))
        places = np.zeros((len(x), 3))
        places[:, 0] = np.arange(len(x))
        edges, shifts = neighbour_list(places, self.cutoff)
        return Tokens.make(
            positions=torch.from_numpy(places),
            types=torch.arange(1, len(x) + 1),
            edges=torch.from_numpy(edges),
            shifts=torch.from_numpy(shifts).to(torch.float64),
            cutoff=self.cutoff,
            scalars=torch.stack((0.1 * x, torch.tanh(x), torch.asinh(x)), -1),
            conditions=self.condition_values(sample),
            id=sample.id,
        )

    def symmetries(
        self, generator: torch.Generator
    ) -> Iterator[tuple[str, Callable[[Sample], Sample], Callable[[str, Tensor], Tensor]]]:
        """None, whatever the unit: a state has no symmetry that all systems share."""
        yield from ()
