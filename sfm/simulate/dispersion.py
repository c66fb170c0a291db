"""London dispersion by Grimme's D3 with Becke-Johnson damping, of molecules and of periodic cells.

    E = -sum_{pairs} [ C6 / (r^6 + f^6) + s8 C8 / (r^8 + f^8) ],   f = a1 (C8 / C6)^(1/2) + a2,
    C8 = 3 C6 (Q_A Q_B)^(1/2),
    C6 = sum_{ab} w_a w_b C6_ref(A, a; B, b),   w of the coordination numbers
    CN_A = sum_{B} [1 + exp(-16 (R_AB / r - 1))]^(-1)

A term for whatever has no dispersion of its own: a model that learned from PBE, a classical
potential without attraction. Reference coefficients, radii and weights are those of the package
`tad-dftd3`; pairs, images and damping are here, because the package has open systems alone.

References: Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 132, 154104 (2010); Grimme, Ehrlich,
Goerigk, J. Comput. Chem. 32, 1456 (2011), which gives the parameters of PBE, PBE0 and B3LYP;
Ehlert et al., J. Chem. Phys. 154, 061101 (2021) for r2SCAN; Friede et al., J. Chem. Phys. 161,
062501 (2024) for the package.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.data.systems import Systems
from sfm.data.tokens import system_sum
from sfm.errors import InputError, InputWarning, did_you_mean
from sfm.simulate.base import Setting, Simulator
from sfm.simulate.dynamics.neighbours import full_list
from sfm.units import factor

BOHR, HARTREE = factor("bohr", "angstrom"), factor("hartree", "eV")
REACH = 60 * BOHR  # angstrom, as in simple-dftd3 and tad-dftd3
COUNTED = 40.0  # bohr, likewise, of the coordination number
STEEPNESS = 16.0
LAST_ELEMENT = 103
CITATIONS = ("doi:10.1063/1.3382344", "doi:10.1002/jcc.21759", "doi:10.1063/5.0041008")
# what levels of theory are called that have dispersion already
DISPERSED = re.compile(r"D[234]\b|VV10|MBD|vdW|[^a-z]XDM|GFN|-D\b", re.IGNORECASE)


class Damping(NamedTuple):
    """D3(BJ) parameters of one functional: s8 and a1 without unit, a2 in bohr; s6 is 1."""

    s8: float
    a1: float
    a2: float


PARAMETERS = {
    "PBE": Damping(0.7875, 0.4289, 4.4407),
    "r2SCAN": Damping(0.78981345, 0.49484001, 5.73083694),
    "PBE0": Damping(1.2177, 0.4145, 4.8593),
    "B3LYP": Damping(1.9889, 0.3981, 4.4211),
}
SETTINGS = (
    Setting(
        "dispersion",
        "none",
        ("none", *PARAMETERS),
        summary="D3(BJ) with the parameters of this functional, added to potential and closure",
    ),
    Setting("dispersion_reach", REACH, unit="angstrom", summary="cutoff of dispersion's pairs"),
)


def damping_of(functional: str) -> Damping:
    """The parameters of a functional.

    Raises:
        InputError: there are none.
    """
    if functional not in PARAMETERS:
        raise InputError(
            f"D3 dispersion has no parameters for '{functional}'."
            f"{did_you_mean(functional, PARAMETERS)} Choose one of {', '.join(PARAMETERS)}"
        )
    return PARAMETERS[functional]


def package() -> ModuleType:
    """`tad_dftd3`.

    Raises:
        InputError: it is not installed.
    """
    try:
        import tad_dftd3
    except ModuleNotFoundError as error:
        raise InputError("D3 dispersion needs tad-dftd3: pip install tad-dftd3") from error
    return tad_dftd3


def check_elements(types: Int[Tensor, " ..."]) -> None:
    """Refuse atomic numbers (...), dimensionless, beyond lawrencium.

    Raises:
        InputError: there is one.
    """
    if types.numel() and not 0 <= int(types.min()) <= int(types.max()) <= LAST_ELEMENT:
        raise InputError(
            f"D3 dispersion: atomic number {int(types.max())} has no reference; "
            f"elements 1 to {LAST_ELEMENT} have"
        )


def refuse_idle(simulator: type[Simulator], values: Mapping[str, Any]) -> None:
    """Refuse a reach without dispersion, of a simulator that is given `values`.

    Raises:
        InputError: there is one.
    """
    if values.get("dispersion", "none") == "none":
        simulator.refuse_idle(values, ["dispersion_reach"], "dispersion=none")


def term(
    functional: str, reach: float, *, potential: str, closure: nn.Module | None
) -> Dispersion | None:
    """The energy that a simulator's settings ask for, None for `none`.

    One line warns of what has dispersion already.

    Args:
        functional: `none` or a key of `PARAMETERS`.
        reach: angstrom.
        potential: a classical potential with attraction beside it, or empty.
        closure: that of the simulator; its level of theory says what it has.

    Raises:
        InputError: as `Dispersion`.
    """
    if functional == "none":
        return None
    level = str(getattr(closure, "level", None) or "")
    double = [name for name in (potential, level if DISPERSED.search(level) else "") if name]
    if double:
        warnings.warn(
            f"{' and '.join(double)} has dispersion already; dispersion={functional} adds to it",
            InputWarning,
            stacklevel=5,
        )
    return Dispersion(functional, reach=reach)


class Dispersion(nn.Module):
    """`(Systems) -> (S,)` energies in eV: the formulas above, differentiable in positions and cell.

    Pairs end at `reach`, where the energy of carbon's is 1e-8 eV. Cells that are not zero are
    periodic in three directions. `s8`, `a1` and `a2` (bohr) are buffers, which gradients reach
    where they ask for them.

    Args:
        functional: a key of `PARAMETERS`.
        reach: angstrom.

    Raises:
        InputError: no such functional, a reach that is not positive, or the package is missing;
            in a call, an element without references.
    """

    s8: Tensor
    a1: Tensor
    a2: Tensor

    def __init__(self, functional: str, *, reach: float = REACH) -> None:
        super().__init__()
        if not reach > 0:
            raise InputError(f"D3 dispersion: dispersion_reach={reach} angstrom must be positive")
        package()
        self.functional, self.reach = functional, reach
        for name, value in damping_of(functional)._asdict().items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def forward(self, systems: Systems) -> Float[Tensor, " S"]:
        from tad_dftd3.model import weight_references

        check_elements(systems.types)
        types, dtype = systems.types, systems.positions.dtype
        tables = _tables(types.device)
        # in float64 whatever comes: single precision loses four digits in the sums
        x, cell, system = systems.positions.double(), systems.cell.double(), systems.system
        periodic = cell.flatten(1).any(1)
        (sender, receiver), image = full_list(x, cell, periodic, system, self.reach)
        away = torch.einsum("ei,eij->ej", image, cell[system[receiver]])
        r = torch.linalg.vector_norm(x[sender] + away - x[receiver], dim=1) / BOHR
        near = (r <= COUNTED).to(r)
        radii = tables.radii[types]
        counts = near / (1 + torch.exp(-STEEPNESS * ((radii[receiver] + radii[sender]) / r - 1)))
        coordination = system_sum(counts, receiver, len(types))
        weights = weight_references(types, coordination, tables.reference)
        c6 = _coefficients(types, weights, tables.reference.c6, receiver, sender)
        quotient = 3 * tables.moments[types][receiver] * tables.moments[types][sender]
        damped = self.a1.double() * quotient.sqrt() + self.a2.double()
        energy = c6 / (r**6 + damped**6) + self.s8.double() * c6 * quotient / (r**8 + damped**8)
        total = system_sum(energy, system[receiver], len(cell))
        return (-HARTREE / 2 * total).to(dtype)


class _Tables(NamedTuple):
    """Of the package: references, covalent radii in bohr, and sqrt(Q) of each element."""

    reference: Any
    radii: Tensor
    moments: Tensor


@lru_cache(maxsize=4)
def _tables(device: torch.device) -> _Tables:
    from tad_dftd3.data import R4R2
    from tad_dftd3.reference import Reference
    from tad_mctc.data.radii import COV_D3

    at: dict[str, Any] = {"dtype": torch.float64, "device": device}
    return _Tables(Reference(**at), COV_D3(**at), R4R2(**at))


def _coefficients(
    types: Tensor, weights: Tensor, table: Tensor, receiver: Tensor, sender: Tensor
) -> Float[Tensor, " E"]:
    """C6 (E,) of pairs, hartree bohr^6, from weights (N, 7) and `table` (Z, Z, 7, 7).

    The receiver's half is summed by kind of the sender, of which there are few.
    """
    kinds, kind = types.unique(return_inverse=True)
    half = torch.einsum("na,nkab->nkb", weights, table[types][:, kinds])
    return (half[receiver, kind[sender]] * weights[sender]).sum(1)
