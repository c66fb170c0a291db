"""Files whose six components of a symmetric tensor stand in another order than Voigt's.

Voigt's order is xx yy zz yz xz xy, as ASE has it. VASP prints xx yy zz xy yz zx, LAMMPS
xx yy zz xy xz yz.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sfm.errors import InputError

VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")
_AXES = "xyz"
VOIGT_AXES = tuple((_AXES.index(name[0]), _AXES.index(name[1])) for name in VOIGT)


def parse_order(text: str) -> tuple[str, ...]:
    """Six names of components, separated by commas or blanks, each with its axes sorted.

    >>> parse_order("xx,yy,zz,xy,yz,zx")
    ('xx', 'yy', 'zz', 'xy', 'yz', 'xz')

    Raises:
        InputError: not each of the six components once.
    """
    words = tuple("".join(sorted(word)) for word in text.lower().replace(",", " ").split())
    if sorted(words) != sorted(VOIGT):
        raise InputError(
            f"--voigt '{text}': name each of the six components once, in the order of the file: "
            "xx,yy,zz,xy,yz,zx"
        )
    return words


def reordered(
    tensor: Float[np.ndarray, " ..."], order: Sequence[str], name: str
) -> Float[np.ndarray, "3 3"]:
    """The tensor (3, 3), in the unit that it had, whose components stand where `order` names them.

    Args:
        tensor: (3, 3) in any unit, made of six numbers as if they stood in Voigt's order.
        order: what the six numbers are.
        name: of the system, for messages.

    Raises:
        InputError: another shape, or not symmetric: its nine numbers have no such order.
    """
    if tensor.shape != (3, 3) or not np.allclose(tensor, tensor.T, rtol=1e-6, atol=1e-12):
        raise InputError(f"{name}: --voigt is for symmetric tensors of six numbers")
    places = [(_AXES.index(component[0]), _AXES.index(component[1])) for component in VOIGT]
    given = {component: tensor[place] for component, place in zip(order, places, strict=True)}
    result = np.empty_like(tensor)
    for component, (i, j) in zip(VOIGT, places, strict=True):
        result[i, j] = result[j, i] = given[component]
    return result


def wrong_order(shear: Sequence[int]) -> str:
    """What to say of shear components that stand in the order `shear` of yz, xz, xy.

    >>> wrong_order((2, 0, 1))
    "the shear components of 'stress' stand in the order xy yz xz, not yz xz xy (--voigt \
xx,yy,zz,xy,yz,xz)"
    """
    names = [VOIGT[3 + k] for k in shear]
    return (
        f"the shear components of 'stress' stand in the order {' '.join(names)}, not yz xz xy "
        f"(--voigt {','.join((*VOIGT[:3], *names))})"
    )
