"""Gaussian basis sets: tables by name, from PySCF or the Basis Set Exchange, as `Shells`.

A table is a list of shells, ``[l, [exponent, coefficient, ...], ...]``: PySCF's form, with one
column of coefficients for each contraction. Here, too, the engine decides what it takes from PySCF
(`integrals_by`), and what it does without it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.data.elements import SYMBOLS
from sfm.errors import InputError
from sfm_dft.integrals.shells import LARGEST_DEGREE, Shells

Table = Sequence[Sequence[Any]]
AUXILIARY_BASIS = "def2-universal-jfit"  # of density fitting, for the Coulomb energy
EXCHANGE_AUXILIARY_BASIS = "def2-universal-jkfit"  # for exact exchange too
INTEGRALS = ("auto", "libcint", "torch")
EXCHANGE_NAMES = {"ano": "ano-rcc"}  # what the Basis Set Exchange calls PySCF's


@cache
def has_pyscf() -> bool:
    """Whether PySCF is installed."""
    return find_spec("pyscf") is not None


def integrals_by(setting: str, coulomb: str, device: torch.device) -> str:
    """Who computes integrals: ``libcint`` (PySCF's, on the CPU, where it is the faster) or
    ``torch`` (on any device).

    Raises:
        InputError: four-centre integrals, which torch has not, or libcint without PySCF.
    """
    if setting == "auto":
        here = has_pyscf() and (device.type == "cpu" or coulomb == "exact")
        setting = "libcint" if here else "torch"
    if setting == "torch" and coulomb == "exact":
        raise InputError("integrals in torch have no four-centre kind; set coulomb='fitted'")
    if setting == "libcint" and not has_pyscf():
        raise InputError("integrals='libcint' needs PySCF: pip install pyscf; or set 'torch'")
    return setting


def shells(
    basis: Any,
    numbers: Int[Tensor, " A"],
    positions: Float[Tensor, "A 3"],
    *,
    largest: int = LARGEST_DEGREE,
) -> Shells:
    """A basis on atoms (A,) at positions (A, 3) in bohr, on their device, in PySCF's order.

    basis: a name, or tables (or names) by element symbol. largest: degree that is allowed.

    Raises:
        InputError: no such basis for an element, or a shell of a higher degree.
    """
    tables = {number: table(basis, number) for number in sorted(set(numbers.tolist()))}
    return Shells.of_tables(tables, numbers, positions, largest=largest)


def table(basis: Any, number: int) -> Table:
    """The shells of one element, by ascending l.

    Raises:
        InputError: there are none, or what was given is no table.
    """
    symbol = SYMBOLS[number]
    element_basis = basis
    if isinstance(basis, Mapping):
        element_basis = basis.get(symbol, basis.get("default"))
        if element_basis is None:
            raise InputError(f"no basis for {symbol}; the given one has {', '.join(basis)}")
    shells = (
        _named(element_basis, number)
        if isinstance(element_basis, str)
        else _checked(element_basis, symbol)
    )
    return sorted((shell for shell in shells if shell), key=lambda shell: shell[0])


def _checked(table: Any, symbol: str) -> Table:
    """A table that was given as such: PySCF would pass over some mistakes in it."""
    try:
        for degree, *rows in filter(None, table):
            numbers = rows[1:] if rows and isinstance(rows[0], int) else rows  # PySCF's kappa
            values = np.array(numbers, dtype=np.float64)
            right = values.ndim == 2 and values.shape[1] > 1 and bool(np.isfinite(values).all())
            if not (right and degree >= 0 and degree % 1 == 0 and (values[:, 0] > 0).all()):
                raise ValueError
    except (TypeError, ValueError):
        raise InputError(
            f"basis of {symbol}: {table!r:.80} is neither a name nor a list of shells "
            "[l, [exponent, coefficient, ...], ...]"
        ) from None
    shells: Table = table
    return shells


@cache
def _named(name: str, number: int) -> Table:
    if has_pyscf():
        return _by_pyscf(name, SYMBOLS[number])
    return _by_exchange(name, number)


def _by_pyscf(name: str, symbol: str) -> Table:
    from pyscf.gto import format_basis
    from pyscf.lib.exceptions import BasisNotFoundError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an advice to install another package
            shells: Table = format_basis({symbol: name})[symbol]
    except (BasisNotFoundError, KeyError) as error:
        raise InputError(f"no basis '{name}' for {symbol}: {error}") from None
    return shells


def _by_exchange(name: str, number: int) -> Table:
    try:
        import basis_set_exchange
    except ModuleNotFoundError as error:
        raise InputError(
            f"basis '{name}' needs PySCF or the Basis Set Exchange's tables: pip install pyscf, or "
            "pip install basis-set-exchange; or give a dictionary of shells by element"
        ) from error
    called = EXCHANGE_NAMES.get(name.lower(), name)
    try:
        data = basis_set_exchange.get_basis(called, elements=[number])["elements"][str(number)]
    except (KeyError, ValueError) as error:
        raise InputError(f"no basis '{name}' for {SYMBOLS[number]}: {error}") from None
    if data.get("ecp_electrons"):
        raise InputError(
            f"basis '{name}' of {SYMBOLS[number]} stands on a pseudopotential; take an "
            "all-electron basis, such as sto-3g or 3-21g"
        )
    out = []
    for shell in data["electron_shells"]:
        exponents = [float(x) for x in shell["exponents"]]
        columns = [[float(x) for x in column] for column in shell["coefficients"]]
        degrees = shell["angular_momentum"]
        if len(degrees) == 1:
            rows = zip(exponents, *columns, strict=True)
            out.append([degrees[0], *(list(row) for row in rows if any(row[1:]))])
        else:  # SP shells: one column each
            for degree, column in zip(degrees, columns, strict=True):
                pairs = zip(exponents, column, strict=True)
                out.append([degree, *([a, c] for a, c in pairs if c)])
    return out
