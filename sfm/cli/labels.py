"""`--key`, `--unit` and `--voigt`: names, units and order of the labels of a file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sfm.data.label_names import LabelNames


def add_names(parser: argparse.ArgumentParser) -> None:
    """The flags; `names_of` reads them."""
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
    parser.add_argument(
        "--voigt",
        metavar="ORDER",
        help="order of the six numbers of a stress or virial in the file: xx,yy,zz,xy,yz,zx as "
        "VASP prints them (default: xx,yy,zz,yz,xz,xy)",
    )


def names_of(
    arguments: argparse.Namespace, extensive: Mapping[str, bool] | None = None
) -> LabelNames | None:
    """What the flags say, and whether quantities of the user's own are extensive.

    Raises:
        InputError: not of the form `a=b`, an unknown quantity, unit or order.
    """
    if not (arguments.key or arguments.unit or arguments.voigt is not None or extensive):
        return None
    from sfm.data.label_names import LabelNames

    return LabelNames.parse(arguments.key, arguments.unit, arguments.voigt, extensive)
