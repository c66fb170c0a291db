"""From what a user hands over to samples that the model has an encoder for, in filled batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sfm.data.budget import filled
from sfm.data.label_names import not_used
from sfm.data.readers import read_object
from sfm.data.rows import HINT, leave_out, row, rows_left_out
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError, InputWarning, OutsideError
from sfm.model.guard import Guard

if TYPE_CHECKING:
    from sfm.model.foundation import FoundationModel

TOKENS_PER_BATCH = 2048


def read_samples(
    model: FoundationModel, inputs: Any, domain: str | None, level: str | None = None
) -> list[Sample]:
    """The inputs as samples of domains that the model knows.

    Args:
        model: the model.
        inputs: as in `sfm.model.predict.predict`.
        domain: treat the systems as this domain's.
        level: of theory; where no domain is named, and that of a system does not know it but one
            other does, which can take the system, it is treated as that one's.

    Raises:
        InputError: unreadable, or of a domain that the model does not know.
    """
    samples = read_object(inputs, domain=None)
    if domain is not None:
        samples = [s.replace(domain=domain) for s in samples]
    places = [] if domain is not None or level is None else _places(model, level)
    known = []
    for sample in samples:
        with row():
            if places:
                sample = _at_level(model, sample, places, str(level))
            if sample.domain not in model.domains:
                raise InputError(
                    f"{sample.id}: domain '{sample.domain}', but model '{model.config.name}' knows "
                    f"{', '.join(model.domains)}"
                )
            known.append(sample)
    for line in not_used(known):
        warnings.warn(line, InputWarning, stacklevel=4)
    return known


def _places(model: FoundationModel, level: str) -> list[tuple[str, str]]:
    """Encoders that know the level, and their domains."""
    encoders = {target.encoder for target in model.targets(level=level)}
    return [(e, d) for e, d in model.config.encoder_domains.items() if e in encoders]


def _at_level(
    model: FoundationModel, sample: Sample, places: Sequence[tuple[str, str]], level: str
) -> Sample:
    """The sample, of the one domain that knows the level; as it is where there is not one.

    Raises:
        InputError: several other domains know it.
    """
    moved = {}
    # its own domain first: then no other matters
    for encoder, domain in sorted(places, key=lambda place: place[1] != sample.domain):
        one = sample if domain == sample.domain else sample.replace(domain=domain)
        if model.encoder(encoder).accepts(one):
            if domain == sample.domain:
                return sample
            moved[domain] = one
    if len(moved) > 1:
        raise InputError(
            f"{sample.id}: level '{level}' is known in the domains {', '.join(moved)}: name one"
        )
    return next(iter(moved.values()), sample)


def refuse(error: OutsideError, samples: Sequence[Sample]) -> None:
    """Raise it, or leave the system out where a caller collects such rows."""
    if rows_left_out() is None and len(samples) > 1:
        raise OutsideError(f"{error}; {HINT}")
    leave_out(error)


def is_many(inputs: Any, samples: Sequence[Sample]) -> bool:
    """Whether the answer to these inputs is a list."""
    return isinstance(inputs, (list, tuple)) or len(samples) > 1


def token_batches(
    model: FoundationModel, encoder: str, samples: Sequence[Sample], level: str
) -> Iterator[tuple[list[int], Tokens]]:
    """Tokens of some samples and their indices, filled to a budget of tokens.

    Raises:
        InputError: a sample that the encoder cannot take, or that is no system of atoms; inside
            `sfm.data.rows.collecting` it is left out.
    """
    guard = Guard(model, encoder, level)

    def tokenized() -> Iterator[tuple[int, Tokens]]:
        for number, sample in enumerate(samples):
            tokens = None
            with row():
                one = model.tokenize(encoder, [sample], level)
                guard.refuse_impossible(one)
                tokens = one
            if tokens is not None:
                yield number, tokens

    def cost(item: tuple[int, Tokens]) -> tuple[int, int]:
        return item[1].n_tokens, item[1].n_edges

    for chunk in filled(tokenized(), cost, tokens=TOKENS_PER_BATCH):
        yield [number for number, _ in chunk], Tokens.cat([tokens for _, tokens in chunk])
