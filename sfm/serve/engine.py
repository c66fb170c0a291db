"""`sfm serve MODEL --socket ADDRESS --input FILE`: a model answers an engine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sfm.cli.inputs import add_compiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from sfm.data.sample import Sample

WAIT = 60.0  # s for an engine to appear


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm serve` that go with `--socket`."""
    group = parser.add_argument_group("answering an engine that speaks i-PI's protocol")
    group.add_argument(
        "--socket",
        metavar="ADDRESS",
        help="where it listens: 31415 (on this machine), HOST:31415, unix:NAME or /a/path",
    )
    group.add_argument("--input", metavar="FILE", help="the system: elements, charge, boundaries")
    group.add_argument("--level", help="level of theory")
    group.add_argument("--domain", help="molecules or crystals; default: by the boundaries")
    group.add_argument(
        "--extrapolate", action="store_true", help="answer outside the training data too"
    )
    add_compiled(group)


def run(arguments: argparse.Namespace) -> int:
    """Answer until the engine ends."""
    from sfm.cli.inputs import refuse_missing_input
    from sfm.cli.output import note
    from sfm.engines.ipi import Address, answer
    from sfm.errors import InputError
    from sfm.model import FoundationModel
    from sfm.model.potential import Potential

    address = Address.parse(arguments.socket)
    if len(arguments.models) > 1:
        raise InputError("--socket: one model answers; several were named")
    if arguments.input is None:
        raise InputError("--socket: --input FILE says which elements the engine moves")
    refuse_missing_input(arguments.input)
    name = arguments.models[0] if arguments.models else "sfm-tiny"
    note(f"loading {name}")
    potential = Potential(
        FoundationModel.from_pretrained(name),
        level=arguments.level,
        domain=arguments.domain,
        extrapolate=arguments.extrapolate,
        compiled=arguments.compiled,
    )
    sample = _system(arguments.input, potential.domain_of)
    _, level = potential.place(sample.domain)
    note(f"{sample.id}: {sample.domain} at {level}; looking for an engine at {address}")
    with address.connect(WAIT) as connection:
        note("connected")
        count = answer(connection, potential, sample)
    note(f"the engine has ended after {count} answers")
    return 0


def _system(path: str, domain_of: Callable[[bool], str]) -> Sample:
    """The one system of the file.

    Raises:
        InputError: it holds none or several.
    """
    import warnings

    import sfm
    from sfm.errors import InputError, InputWarning

    samples = sfm.read(path)
    if len(samples) != 1:
        raise InputError(f"{path}: holds {len(samples)} systems; the engine moves one")
    (sample,) = samples
    names = [n for n in ("masses", "fixed", "velocities") if getattr(sample, n) is not None]
    if names:
        text = f"{path}: {', '.join(names)} are the engine's to say; those here are not used"
        warnings.warn(text, InputWarning, stacklevel=2)
    return sample.replace(domain=domain_of(bool(sample.pbc.any())), labels={}, extras={})
