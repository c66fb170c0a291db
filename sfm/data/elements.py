"""Chemical symbols by atomic number; 0 is `X`, a token that is not an atom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_TABLE = """
X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge
As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm
Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U
Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""

SYMBOLS: tuple[str, ...] = tuple(_TABLE.split())
NUMBERS: dict[str, int] = {symbol: number for number, symbol in enumerate(SYMBOLS)}


def formula(types: Iterable[int]) -> str:
    """Symbols and numbers of atoms, in alphabetical order.

    >>> formula([6, 6, 8, 1, 1, 1, 1, 1, 1])
    'C2 H6 O1'
    """
    counts = Counter(SYMBOLS[z] for z in types)
    return " ".join(f"{symbol}{number}" for symbol, number in sorted(counts.items()))
