"""A prediction for the page: what `sfm predict` says, and what it takes to draw it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from sfm.data.readers import read_file
from sfm.data.sample import Sample
from sfm.errors import InputError, OutsideError
from sfm.quantity import Quantity
from sfm.registry import quantities
from sfm.serve.desk import Desk
from sfm.serve.limits import Limits
from sfm.serve.numbers import as_array, listed, picture, plain
from sfm.serve.snippets import predict_command, predict_python, typed
from sfm.serve.uploads import as_file


def predict(
    desk: Desk,
    *,
    model: str,
    name: str,
    content: bytes,
    domain: str | None = None,
    level: str | None = None,
    extrapolate: bool = False,
) -> dict[str, Any]:
    """The job `predict`: every system of the file.

    Raises:
        InputError: as `FoundationModel.predict`; more systems or atoms than this page takes.
        OutsideError: outside the model's training data.
    """
    loaded = desk.model(model)
    samples, asked = systems_of(name, content, desk.limits)
    with names_box():
        answers = loaded.predict(samples, domain=domain, level=level, extrapolate=extrapolate)
    predictions = answers if isinstance(answers, list) else [answers]
    return {
        "model": loaded.config.name,
        "systems": [_system(p, loaded.config.quantities) for p in predictions],
        "warnings": [],
        "command": predict_command(model, asked, domain, level, extrapolate),
        "python": predict_python(model, asked, domain, level, extrapolate),
    }


def systems_of(name: str, content: bytes, limits: Limits) -> tuple[list[Sample], str]:
    """The systems of what a client sent, and how a command line names them.

    Raises:
        InputError: it cannot be read; more systems, atoms or numbers than this page takes.
    """
    with as_file(name, content) as path:
        samples = read_file(path)
        check_size(samples, limits, path.name)
    return samples, typed(name, content) or path.name


@contextmanager
def names_box() -> Iterator[None]:
    """A refusal names the page's box, where the command line has a flag.

    Raises:
        OutsideError: as the block does.
    """
    try:
        yield
    except OutsideError as error:
        raise OutsideError(str(error).replace("--extrapolate", "'extrapolate'")) from None


def check_size(samples: Sequence[Sample], limits: Limits, name: str) -> None:
    """Refuse what would keep the page busy for long.

    Raises:
        InputError: too many systems, atoms or numbers.
    """
    atoms = sum(len(s.types) for s in samples)
    numbers = max((np.size(f) for s in samples for f in s.fields.values()), default=0)
    for count, most, what in (
        (len(samples), limits.systems, "systems"),
        (atoms, limits.atoms, "atoms"),
        (numbers, limits.numbers, "numbers in a field"),
    ):
        if count > most:
            raise InputError(
                f"{name}: {count} {what}, this page takes {most}; the command line has no limit"
            )


def _system(prediction: Any, known: Mapping[str, Quantity]) -> dict[str, Any]:
    sample, errors = prediction.sample, prediction.uncertainty
    entries = {}
    for key, value in prediction.items():
        quantity = known[key.partition("@")[0]]
        entries[key] = {
            **plain(value),
            "unit": prediction.units[key],
            "level": prediction.levels[key],
            "per": quantity.per,
            "summary": quantity.summary,
            # a number, or a list of one for each row: of forces, one for each atom
            "uncertainty": listed(as_array(errors[key])) if key in errors else None,
        }
    return {
        "id": prediction.id,
        "domain": prediction.domain,
        "quantities": entries,
        "warnings": list(prediction.warnings),
        "atoms": atoms(sample),
        "fields": fields(sample),
    }


def atoms(sample: Sample) -> dict[str, Any] | None:
    """What the viewer draws: symbols, positions in angstrom, cell and where it repeats."""
    if not len(sample.types):
        return None
    from sfm.data.elements import SYMBOLS

    return {
        "symbols": [SYMBOLS[z] for z in sample.types],
        "positions": sample.positions.tolist(),
        "cell": None if sample.cell is None else sample.cell.tolist(),
        "pbc": sample.pbc.tolist(),
    }


def fields(sample: Sample) -> dict[str, Any]:
    """Pictures of the sample's fields, each in its quantity's unit."""
    known = dict(quantities())
    drawn = {name: picture(value, known.get(name)) for name, value in sample.fields.items()}
    return {name: p for name, p in drawn.items() if p is not None}
