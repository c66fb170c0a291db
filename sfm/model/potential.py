"""A model as a potential energy surface: what ASE's calculator and other engines ask.

They all go through one door, so that level, domain, charge and spin, and what is refused outside
the training data, mean the same in each.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError, InputWarning
from sfm.model.guard import Guard
from sfm.model.readout import uncertainty
from sfm.nn.compiled import compiled

if TYPE_CHECKING:
    from sfm.model.foundation import FoundationModel

ATOMIC = ("molecules", "crystals")


@dataclass(frozen=True)
class Values:
    """What a model says of S systems with N atoms in one pass.

    Attributes:
        encoder, level: names of those that answered.
        values: detached, by quantity: `energy` (S,) eV, `forces` (N, 3) eV/angstrom, `stress`
            (S, 3, 3) eV/angstrom^3, positive under tension, and others in their units.
        tokens: of the systems. features: the trunk's, of the same pass.
    """

    encoder: str
    level: str
    values: dict[str, Tensor]
    tokens: Tokens
    features: Tokens


class Potential:
    """Energies and their derivatives of open and periodic systems, batched and guarded.

    Args:
        model: has an energy head for molecules or crystals.
        level: level of theory; needed where the model knows several.
        domain: `crystals` for periodic, `molecules` for open systems if None.
        extrapolate: warn of what lies outside the training data instead of refusing it.
        compiled: use compiled kernels on a CPU (`sfm.nn.compiled`), twice as fast.

    Raises:
        InputError: an unknown domain or level, or several levels of which none is named.
    """

    def __init__(
        self,
        model: FoundationModel,
        *,
        level: str | None = None,
        domain: str | None = None,
        extrapolate: bool = False,
        compiled: bool = False,
    ) -> None:
        self.model, self.level, self.domain = model, level, domain
        self.extrapolate, self.compiled = extrapolate, compiled
        self.encoders = _encoders(model, level, domain)
        self._guards: dict[tuple[str, str], Guard] = {}
        self._told: set[tuple[str, str]] = set()

    def domain_of(self, periodic: bool) -> str:
        """The domain that a system is answered in."""
        return self.domain or ("crystals" if periodic else "molecules")

    def place(self, domain: str) -> tuple[str, str]:
        """Encoder and level that answer for a domain.

        Raises:
            InputError: there is none.
        """
        encoder = self.encoders.get(domain) or self.model.encoder_for(domain, "energy")
        return encoder, self.model.level(encoder, self.level, "energy")

    def __call__(
        self,
        samples: Sequence[Sample],
        names: Collection[str],
        tokenize: Callable[[str, str], Tokens] | None = None,
    ) -> Values:
        """Values of `names` for samples of one domain, in one pass of the trunk.

        Args:
            samples: one or more.
            names: quantities, `forces` and `stress` among them.
            tokenize: `(encoder, level) -> tokens` of the samples, for engines that keep neighbours.

        Raises:
            InputError: samples of several domains, stress without three periodic directions, an
                impossible charge or spin.
            OutsideError: elements, charge, spin or distances outside the training data.
        """
        if len(domains := {sample.domain for sample in samples}) != 1:
            given = ", ".join(sorted(domains)) or "none"
            raise InputError(f"domains of the samples: {given}; give those of one at a time")
        encoder, level = self.place(samples[0].domain)
        if "stress" in names and not all(s.pbc.all() for s in samples):
            raise InputError("stress needs a cell that is periodic in three directions")
        if tokenize is None:
            tokens = self.model.tokenize(encoder, samples, level)
        else:
            tokens = tokenize(encoder, level)
        self._guard(encoder, level).check(tokens, [s.conditions for s in samples], names)
        with compiled(self.compiled):
            values, features = self.model.values_and_features({encoder: tokens}, {encoder: names})
        detached = {name: value.detach() for name, value in values[encoder].items()}
        judged = uncertainty(self.model, encoder, "energy", tokens, features[encoder])
        if judged is not None:
            doubtful = zip(samples, judged[1].tolist(), strict=True)
            self._tell([sample.id for sample, outside in doubtful if outside], level)
        return Values(encoder, level, detached, tokens, features[encoder])

    def _tell(self, names: list[str], level: str) -> None:
        """Warn of systems unlike the training data, once of each in the life of this potential."""
        new = [name for name in dict.fromkeys(names) if (name, level) not in self._told]
        if new:
            self._told.update((name, level) for name in new)
            these = "this system is" if len(new) == 1 else f"it and {len(new) - 1} more are"
            text = f"{new[0]}: {these} unlike the training data at {level}"
            warnings.warn(text, InputWarning, stacklevel=3)

    def _guard(self, encoder: str, level: str) -> Guard:
        if (encoder, level) not in self._guards:
            guard = Guard(self.model, encoder, level, extrapolate=self.extrapolate)
            self._guards[encoder, level] = guard
        return self._guards[encoder, level]


def _encoders(model: FoundationModel, level: str | None, domain: str | None) -> dict[str, str]:
    """Encoder of each domain that can be meant, with an energy at the level.

    Raises:
        InputError: there is none.
    """
    if domain is not None:
        encoder = model.encoder_for(domain, "energy")
        model.level(encoder, level, "energy")
        return {domain: encoder}
    encoders, refusals = {}, []
    for atomic in ATOMIC:
        try:
            encoder = model.encoder_for(atomic, "energy")
            model.level(encoder, level, "energy")
        except InputError as error:
            refusals.append(str(error))
            continue
        encoders[atomic] = encoder
    if not encoders:
        raise InputError("; ".join(refusals))
    return encoders
