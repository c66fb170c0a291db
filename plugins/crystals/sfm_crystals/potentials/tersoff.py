"""Tersoff's bond-order potential, for several elements.

    E = 1/2 sum_i sum_j fc(r_ij) [A exp(-lambda1 r_ij) - b_ij B exp(-lambda2 r_ij)]
    b_ij = (1 + beta^n zeta_ij^n)^(-1/2n)
    zeta_ij = sum over k of fc(r_ik) g(theta_ijk) exp[lambda3^m (r_ij - r_ik)^m]
    g(theta) = gamma [1 + c^2/d^2 - c^2 / (d^2 + (cos theta - h)^2)]

J. Tersoff, Phys. Rev. B 37, 6991 (1988). Without a table: silicon of his Phys. Rev. B 39, 5566
(1989), table I. A table is a file as LAMMPS has them: entries of three elements and m, gamma,
lambda3, c, d, h, n, beta, lambda2, B, R, D, lambda1, A, over as many lines as they need; eV and
angstrom.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.tokens import system_sum
from sfm.errors import InputError
from sfm_crystals.cells import Cells, bonds
from sfm_crystals.potentials.elements import element, rows_of
from sfm_crystals.potentials.triplets import triplets

NAMES = (
    "m", "gamma", "lambda3", "c", "d", "h", "n", "beta", "lambda2", "B", "R", "D", "lambda1", "A",
)  # fmt: skip
# J. Tersoff, Phys. Rev. B 39, 5566 (1989), table I: its R and S are R - D and R + D here
SILICON = (
    3.0, 1.0, 0.0, 1.0039e5, 16.217, -0.59825, 0.78734, 1.1e-6, 1.7322, 471.18, 2.85, 0.15, 2.4799,
    1830.8,
)  # fmt: skip
TINY = 1e-100  # an atom with one bond has zeta = 0, where zeta^n has no derivative


class Tersoff(nn.Module):
    """Parameters of K elements, and the energy of cells of them.

    Attributes:
        elements: K symbols.
        values: (14, K, K, K) in the order of `NAMES`, eV and angstrom.

    Args:
        entries: 14 numbers by three symbols.
        where: what has the parameters, for messages.
    """

    def __init__(
        self,
        entries: dict[tuple[str, ...], tuple[float, ...]],
        *,
        where: str,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.elements = tuple(sorted({e[0] for e in entries}))
        self.where = where
        k = len(self.elements)
        table = torch.zeros(len(NAMES), k, k, k, dtype=dtype)
        for i, a in enumerate(self.elements):
            for j, b in enumerate(self.elements):
                for l, c in enumerate(self.elements):  # noqa: E741
                    if (a, b, c) not in entries:
                        raise InputError(f"{where}: no entry {a} {b} {c}")
                    table[:, i, j, l] = torch.tensor(entries[a, b, c], dtype=dtype)
        self.values = nn.Parameter(table)

    @classmethod
    def silicon(cls, *, dtype: torch.dtype = torch.float64) -> Tersoff:
        """Tersoff's silicon of 1989."""
        return cls({("Si", "Si", "Si"): SILICON}, where="potential=tersoff", dtype=dtype)

    @classmethod
    def read(cls, path: str | Path, *, dtype: torch.dtype = torch.float64) -> Tersoff:
        """Of a file as LAMMPS has them.

        Raises:
            InputError: an entry that is incomplete or no number, or one that is missing.
        """
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        words = [word for line in lines for word in line.split("#")[0].split()]
        size = 3 + len(NAMES)
        if not words or len(words) % size:
            raise InputError(
                f"{path}: {len(words)} words; an entry has {size}: three elements and "
                f"{', '.join(NAMES)}"
            )
        entries = {}
        for start in range(0, len(words), size):
            where = f"{path}: entry {start // size + 1}"
            kinds = tuple(element(word, where) for word in words[start : start + 3])
            try:
                numbers = tuple(float(word) for word in words[start + 3 : start + size])
            except ValueError as error:
                raise InputError(f"{where}: {error}") from None
            if numbers[0] not in (1.0, 3.0):
                raise InputError(f"{where}: m={numbers[0]:g}, allowed are 1 and 3")
            entries[kinds] = numbers
        return cls(entries, where=str(path), dtype=dtype)

    def forward(self, cells: Cells) -> Float[Tensor, " S"]:
        """(S,) energy in eV.

        Raises:
            InputError: an element without parameters.
        """
        kinds = rows_of(cells.types, self.elements, where=self.where)
        at = {name: self.values[k] for k, name in enumerate(NAMES)}
        pairs = bonds(cells, float((at["R"] + at["D"]).detach().max()))
        r = pairs.lengths()
        mine, other = kinds[pairs.receiver], kinds[pairs.sender]
        two = {name: value[mine, other, other] for name, value in at.items()}

        first, second = triplets(pairs.receiver)
        first, second = torch.cat([first, second]), torch.cat([second, first])
        three = {
            name: value[mine[first], other[first], other[second]] for name, value in at.items()
        }
        cosine = (pairs.vectors[first] * pairs.vectors[second]).sum(1) / (r[first] * r[second])
        c2, d2 = three["c"] ** 2, three["d"] ** 2
        angle = three["gamma"] * (1 + c2 / d2 - c2 / (d2 + (cosine - three["h"]) ** 2))
        longer = three["lambda3"] * (r[first] - r[second])
        power = torch.where(three["m"] == 3, longer**3, longer)
        term = _fade(r[second], three["R"], three["D"]) * angle * torch.exp(power.clamp(max=69.0))
        zeta = torch.zeros_like(r).index_add(0, first, term)

        crowd = (two["beta"] * zeta).clamp(min=TINY) ** two["n"]
        order = (1 + crowd) ** (-1 / (2 * two["n"]))
        repulsion = two["A"] * torch.exp(-two["lambda1"] * r)
        attraction = order * two["B"] * torch.exp(-two["lambda2"] * r)
        pair = _fade(r, two["R"], two["D"]) * (repulsion - attraction)
        return system_sum(pair / 2, cells.system[pairs.receiver], cells.n_systems)


def _fade(r: Tensor, middle: Tensor, half: Tensor) -> Tensor:
    """1 below R - D, 0 above R + D, a half wave of a sine between."""
    place = ((r - middle) / half).clamp(-1.0, 1.0)
    return 0.5 - 0.5 * torch.sin(0.5 * math.pi * place)
