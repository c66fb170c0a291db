"""Buckingham's energy of pairs, with charges.

    E = sum over pairs of [A exp(-r / rho) - C / r^6] s(r) + Coulomb

R. A. Buckingham, Proc. R. Soc. A 168, 264 (1938). Without a table: argon, A = 1.69e-8 erg, rho =
0.273 angstrom, C = 102e-12 erg angstrom^6, his values without the term in r^-8. At distances below
about a third of the bond the energy goes to minus infinity: it holds for what stays apart.

A table is a text file. `#` begins a comment; a line of five holds two elements, A (eV), rho
(angstrom), C (eV angstrom^6); a line `charge ELEMENT Q` an ion's charge (e). Pairs that are not
listed have no short range. Magnesia, for one, with G. V. Lewis and C. R. A. Catlow's parameters
(J. Phys. C 18, 1149, 1985):

    Mg O  1428.5   0.29453  0
    O  O  22764.3  0.149    27.88
    charge Mg  2
    charge O  -2

The charges' energy is that of Ewald's sums (`ewald`) or of a mesh (`mesh`), for large cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.tokens import system_sum
from sfm.errors import InputError
from sfm_crystals.cells import Cells, bonds
from sfm_crystals.potentials.elements import element, rows_of
from sfm_crystals.potentials.ewald import ewald
from sfm_crystals.potentials.mesh import library, particle_mesh
from sfm_crystals.potentials.switching import ended

ERG = 6.241509074e11  # eV, CODATA 2018
ARGON = (1.69e-8 * ERG, 0.273, 102e-12 * ERG)
NEUTRAL = 1e-3  # e, of a cell; up to there a uniform background makes up for the rest


class Buckingham(nn.Module):
    """Parameters of K elements, and the energy of cells of them.

    Attributes:
        elements: K symbols.
        repulsion, length, dispersion: (K, K) eV, angstrom, eV angstrom^6, symmetric.
        charges: (K,) e.

    Args:
        pairs: A, rho, C by two symbols.
        charges: e by symbol.
        where: what has the parameters, for messages.
        reach: cutoff of the short range, angstrom.
        switch: see `sfm_crystals.potentials.switching.ended`.
        coulomb: `ewald` or `pme`, how the charges' energy is summed.

    Raises:
        InputError: pme without charges, or without the package for it.
    """

    def __init__(
        self,
        pairs: dict[tuple[str, str], tuple[float, float, float]],
        charges: dict[str, float],
        *,
        where: str,
        reach: float,
        switch: str,
        coulomb: str = "ewald",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        if coulomb == "pme":
            if not any(charges.values()):
                raise InputError(f"{where}: coulomb=pme, and there are no charges")
            library()
        self.elements = tuple(sorted({e for pair in pairs for e in pair} | set(charges)))
        self.where, self.reach, self.switch = where, reach, switch
        self.coulomb = particle_mesh if coulomb == "pme" else ewald
        table = torch.zeros(3, len(self.elements), len(self.elements), dtype=dtype)
        table[1] = 1.0
        for (a, b), values in pairs.items():
            i, j = self.elements.index(a), self.elements.index(b)
            table[:, i, j] = table[:, j, i] = torch.tensor(values, dtype=dtype)
        self.repulsion, self.length, self.dispersion = (nn.Parameter(t.clone()) for t in table)
        ions = [charges.get(e, 0.0) for e in self.elements]
        self.charges = nn.Parameter(torch.tensor(ions, dtype=dtype))

    @classmethod
    def argon(cls, **options: Any) -> Buckingham:
        """Buckingham's own argon; `options` as in the constructor."""
        return cls({("Ar", "Ar"): ARGON}, {}, where="potential=buckingham", **options)

    @classmethod
    def read(cls, path: str | Path, **options: Any) -> Buckingham:
        """Of a table; `options` as in the constructor.

        Raises:
            InputError: a line that is none of a table's, or no pair at all.
        """
        pairs, charges = {}, {}
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            words, where = line.split("#")[0].split(), f"{path}: line {number}"
            if not words:
                continue
            try:
                if words[0].lower() == "charge" and len(words) == 3:
                    charges[element(words[1], where)] = float(words[2])
                    continue
                a, b, *numbers = words
                strength, length, dispersion = map(float, numbers)
            except ValueError:
                raise InputError(
                    f"{where}: '{line.strip()}' is neither 'ELEMENT ELEMENT A RHO C' nor "
                    "'charge ELEMENT Q'"
                ) from None
            if not length > 0:
                raise InputError(f"{where}: rho={length:g} angstrom must be positive")
            pairs[element(a, where), element(b, where)] = (strength, length, dispersion)
        if not pairs:
            raise InputError(f"{path}: holds no line 'ELEMENT ELEMENT A RHO C'")
        return cls(pairs, charges, where=str(path), **options)

    def forward(self, cells: Cells) -> Float[Tensor, " S"]:
        """(S,) energy in eV.

        Raises:
            InputError: an element without parameters, or a cell that is not neutral.
        """
        kinds = rows_of(cells.types, self.elements, where=self.where)
        pairs = bonds(cells, self.reach)
        one, two = kinds[pairs.receiver], kinds[pairs.sender]
        strength, length = self.repulsion[one, two], self.length[one, two]
        dispersion = self.dispersion[one, two]

        def pair(r: Tensor) -> Tensor:
            return strength * torch.exp(-r / length) - dispersion / r**6

        r = pairs.lengths()
        cutoff = torch.full((), self.reach, dtype=r.dtype, device=r.device)
        short = ended(pair, r, cutoff, switch=self.switch)
        energy = system_sum(short / 2, cells.system[pairs.receiver], cells.n_systems)
        if not bool(self.charges.detach().any()):
            return energy
        charges = self.charges[kinds]
        net = system_sum(charges.detach(), cells.system, cells.n_systems).abs().max()
        if float(net) > NEUTRAL:
            raise InputError(
                f"{self.where}: its charges make a cell of {float(net):+.3g} e, which has no "
                "finite energy; check the charges and the composition"
            )
        return energy + self.coulomb(cells, charges)
