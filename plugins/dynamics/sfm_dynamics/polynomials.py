"""Polynomial right-hand sides: libraries of monomials, as modules, and as people write them.

States are in the units of the system; coefficients in those that make the equation right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError, did_you_mean

MAX_TERMS = 2000
MAX_DEGREE = 20  # of a term that is read


@dataclass(frozen=True)
class Polynomials:
    """All monomials of `names` up to `degree`, the constant first.

    Raises:
        InputError: more than 2000 terms.
    """

    names: tuple[str, ...]
    degree: int

    def __post_init__(self) -> None:
        if self.degree < 0 or not self.names:
            raise InputError("a library needs variables and a degree of at least 0")
        if len(self.powers) > MAX_TERMS:
            raise InputError(
                f"{len(self.powers)} terms of degree {self.degree} in {len(self.names)} variables "
                f"are more than {MAX_TERMS}; lower the degree"
            )

    @property
    def powers(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the variables that each term multiplies: () is the constant."""
        d = range(len(self.names))
        return tuple(c for k in range(self.degree + 1) for c in combinations_with_replacement(d, k))

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms as people write them: `1`, `x`, `x y`, `x^2`."""
        return tuple(_written([self.names[i] for i in c]) for c in self.powers)

    def evaluate(self, x: Float[np.ndarray, "*states d"]) -> Float[np.ndarray, "*states terms"]:
        """(..., d) -> (..., terms)."""
        return np.stack(
            [
                np.prod([x[..., i] for i in c], axis=0) if c else np.ones(x.shape[:-1])
                for c in self.powers
            ],
            axis=-1,
        )

    def of_tensor(self, x: Float[Tensor, "*states d"]) -> Float[Tensor, "*states terms"]:
        """The same, (..., d) -> (..., terms), differentiable."""
        columns = []
        for c in self.powers:
            column = torch.ones_like(x[..., 0])
            for i in c:
                column = column * x[..., i]
            columns.append(column)
        return torch.stack(columns, -1)


def _written(factors: Sequence[str]) -> str:
    if not factors:
        return "1"
    powers = []
    for name in dict.fromkeys(factors):
        count = factors.count(name)
        powers.append(name if count == 1 else f"{name}^{count}")
    return " ".join(powers)


class PolynomialRates(nn.Module):
    """dx/dt = Theta(x) C: states (..., d) -> rates (..., d). Absent terms stay absent.

    Args:
        library: the terms.
        coefficients: C (terms, d); trained, but for those that are zero.
    """

    kept: Tensor

    def __init__(self, library: Polynomials, coefficients: np.ndarray) -> None:
        super().__init__()
        self.library = library
        start = torch.from_numpy(np.array(coefficients, dtype=np.float64))
        self.coefficients = nn.Parameter(start)
        self.register_buffer("kept", (start != 0).to(start))

    def forward(self, x: Float[Tensor, "*states d"]) -> Float[Tensor, "*states d"]:
        return self.library.of_tensor(x) @ (self.coefficients * self.kept).to(x)


_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FACTOR = r"[^\W\d]\w*(?:\^\d+)?"
_TERM = re.compile(rf"\s*([+-]?)\s*({_NUMBER})?((?:\s*\*?\s*{_FACTOR})*)\s*(?=[+-]|$)")


def read_equations(text: str) -> PolynomialRates:
    """Equations as `sfm discover` prints them: `dx/dt = -10 x + 10 y; dy/dt = 28 x - y - x z`.

    One for each variable, parted by semicolons or lines; the variables are those on the left. The
    form is that of SINDy (Brunton, Proctor, Kutz 2016, doi:10.1073/pnas.1517384113).

    Raises:
        InputError: something else is written there; the message says which term.
    """
    rows: dict[str, list[tuple[float, tuple[str, ...]]]] = {}
    for line in filter(str.strip, re.split(r"[;\n]", text)):
        match = re.fullmatch(r"\s*d(\w+)/dt\s*=\s*(.*?)\s*", line)
        if match is None:
            raise InputError(f"'{line.strip()}' is no equation; write dx/dt = 2 x - x y^2")
        if match[1] in rows:
            raise InputError(f"d{match[1]}/dt has two equations")
        rows[match[1]] = list(_terms(match[2]))
    if not rows:
        raise InputError("no equation; write dx/dt = 2 x - x y^2")
    names = tuple(rows)
    for name, factor in (
        (n, f) for n, terms in rows.items() for _, factors in terms for f in factors
    ):
        if factor not in names:
            raise InputError(
                f"d{name}/dt names '{factor}', which has no equation of its own"
                f" (known: {', '.join(names)}).{did_you_mean(factor, names)}"
            )
    degree = max((len(f) for terms in rows.values() for _, f in terms), default=0)
    library = Polynomials(names, degree)
    coefficients = np.zeros((len(library.powers), len(names)))
    for column, terms in enumerate(rows.values()):
        for value, factors in terms:
            place = tuple(sorted(names.index(f) for f in factors))
            coefficients[library.powers.index(place), column] += value
    return PolynomialRates(library, coefficients)


def _terms(text: str) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Coefficient and variables of every term of a right-hand side."""
    place = 0
    while place < len(text):
        match = _TERM.match(text, place)
        if match is None or not (match[2] or match[3]):
            raise InputError(f"'{text[place:].strip()[:40]}' is no term; write 2.5 x y^2")
        factors: list[str] = []
        for factor in re.findall(_FACTOR, match[3]):
            name, _, power = factor.partition("^")
            factors += [name] * int(power or 1)
        if len(factors) > MAX_DEGREE:
            raise InputError(f"'{match[3].strip()[:40]}' has a degree above {MAX_DEGREE}")
        yield float(f"{match[1]}{match[2] or 1}"), tuple(factors)
        place = match.end()
