"""`--key` and `--unit`: what a file calls its labels, and in which units they are."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sfm.data.label_names import LabelNames


def add_names(parser: argparse.ArgumentParser) -> None:
    """The two flags; `names_of` reads them."""
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="QUANTITY=NAME",
        help="what the file calls a label: energy=REF_energy; may be repeated",
    )
    parser.add_argument(
        "--unit",
        action="append",
        default=[],
        metavar="QUANTITY=UNIT",
        help="a label's unit in the file: energy=kcal/mol, stress=-kbar (opposite sign)",
    )


def names_of(arguments: argparse.Namespace) -> LabelNames | None:
    """What `--key` and `--unit` say.

    Raises:
        InputError: not of the form `a=b`, an unknown quantity or unit.
    """
    if not (arguments.key or arguments.unit):
        return None
    from sfm.data.label_names import LabelNames

    return LabelNames.parse(arguments.key, arguments.unit)
