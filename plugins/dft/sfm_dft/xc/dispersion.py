"""London dispersion by Grimme's D3 with Becke-Johnson damping, differentiable in the nuclei.

    E = -sum_{A<B} [ s6 C6 / (R^6 + R0^6) + s8 C8 / (R^8 + R0^8) ],  R0 = a1 (C8 / C6)^(1/2) + a2

with C6 from the atoms' coordination numbers. The model is the `tad-dftd3` package's; here are the
damping parameters that belong to our functionals. "D3(BJ)" names the two-body energy; the
Axilrod-Teller-Muto three-body term (s9 = 1) is an option, as in `simple-dftd3`.

References: Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 132, 154104 (2010); Grimme, Ehrlich,
Goerigk, J. Comput. Chem. 32, 1456 (2011), which gives the parameters of PBE, PBE0 and B3LYP;
Ehlert et al., J. Chem. Phys. 154, 061101 (2021) for r2SCAN; Friede et al., J. Chem. Phys. 161,
062501 (2024) for the package.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.errors import InputError, did_you_mean


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
LAST_ELEMENT = 103


def d3(
    numbers: Int[Tensor, " ..."],
    positions: Float[Tensor, " ..."],
    functional: str,
    *,
    three_body: bool = False,
) -> Float[Tensor, " ..."]:
    """Dispersion energy in hartree, ().

    Args:
        numbers: (A,) atomic numbers; zero marks padding. Up to lawrencium.
        positions: (A, 3) bohr. Batches (M, A) and (M, A, 3) give (M,).
        functional: what the energy is added to, a key of `PARAMETERS`.
        three_body: add the Axilrod-Teller-Muto term.

    Raises:
        InputError: the functional has no parameters, an element has none, shapes disagree, or the
            package is missing.
    """
    if functional not in PARAMETERS:
        raise InputError(
            f"D3 dispersion has no parameters for '{functional}'."
            f"{did_you_mean(functional, PARAMETERS)} Choose one of {', '.join(PARAMETERS)}"
        )
    if positions.shape != (*numbers.shape, 3):
        raise InputError(
            f"D3 dispersion: positions {tuple(positions.shape)} do not fit atomic numbers "
            f"{tuple(numbers.shape)}; give (A, 3) for (A,)"
        )
    if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) <= LAST_ELEMENT:
        raise InputError(
            f"D3 dispersion: atomic number {int(numbers.max())} has no reference; "
            f"elements 1 to {LAST_ELEMENT} have"
        )
    try:
        import tad_dftd3
    except ModuleNotFoundError as error:
        raise InputError("D3 dispersion needs tad-dftd3: pip install tad-dftd3") from error
    if numbers.shape[-1] < 2:
        return 0.0 * positions.sum((-2, -1))
    damping = PARAMETERS[functional]
    values = {"s6": 1.0, "s9": 1.0 if three_body else 0.0, "alp": 14.0, **damping._asdict()}
    dtype, device = positions.dtype, positions.device
    parameters = {
        key: torch.tensor(value, dtype=dtype, device=device) for key, value in values.items()
    }
    reference = tad_dftd3.reference.Reference(dtype=dtype, device=device)
    energy: Tensor = tad_dftd3.dftd3(numbers, positions, parameters, ref=reference)
    return energy.sum(-1)
