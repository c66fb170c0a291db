"""What commands ask a model about; input files that are not there are refused early."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_model_and_input(parser: argparse.ArgumentParser) -> None:
    """MODEL, and INPUT: the systems that it is asked about."""
    parser.add_argument("model", metavar="MODEL", help="bundled name, folder or Hub id")
    parser.add_argument(
        "input", metavar="INPUT", help="a file that an installed plugin reads, or a SMILES string"
    )


def add_extrapolate(parser: argparse.ArgumentParser) -> None:
    """`--extrapolate`, of commands whose model refuses what lies outside its training data."""
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="answer outside the training data too: elements, charges, atoms that come too close",
    )


def add_compiled(parser: argparse._ActionsContainer) -> None:
    """`--compiled`, of commands that ask a model for energies and forces."""
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="compile the model's kernels at first use (a C compiler, a CPU): twice as fast",
    )


def refuse_missing(path: str | Path | None) -> None:
    """Of an argument that can only be a file.

    Raises:
        InputError: there is no such file.
    """
    from sfm.errors import InputError

    if path is not None and not Path(path).is_file():
        raise InputError(f"{path}: {'is a folder' if Path(path).is_dir() else 'no such file'}")


def refuse_missing_input(text: str) -> None:
    """Of an argument that is a file if it ends like one.

    Raises:
        InputError: its suffix is one that an installed plugin reads, and there is no such file.
    """
    from sfm.data.readers import suffixes

    if Path(text).suffix.lower() in suffixes():
        refuse_missing(text)


def refuse_missing_data(text: str) -> None:
    """Of an argument that is a file, a dataset's folder or its name.

    Raises:
        InputError: it is none of them.
    """
    from sfm.errors import InputError, PluginError
    from sfm.registry import find

    if Path(text).exists():
        return
    refuse_missing_input(text)
    try:
        find("datasets", text)
    except PluginError as error:
        raise InputError(f"{text}: no such file, folder or dataset ({error})") from None
