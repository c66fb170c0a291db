"""London dispersion by Grimme's D3 with Becke-Johnson damping, differentiable in the nuclei.

    E = -sum_{A<B} [ s6 C6 / (R^6 + R0^6) + s8 C8 / (R^8 + R0^8) ],  R0 = a1 (C8 / C6)^(1/2) + a2

with C6 from the atoms' coordination numbers. The model is the `tad-dftd3` package's; the damping
parameters of our functionals are those of `sfm.simulate.dispersion`, which has periodic cells too.
"D3(BJ)" names the two-body energy; the Axilrod-Teller-Muto three-body term (s9 = 1) is an option,
as in `simple-dftd3`.

References: Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 132, 154104 (2010); Grimme, Ehrlich,
Goerigk, J. Comput. Chem. 32, 1456 (2011), which gives the parameters of PBE, PBE0 and B3LYP;
Ehlert et al., J. Chem. Phys. 154, 061101 (2021) for r2SCAN; Friede et al., J. Chem. Phys. 161,
062501 (2024) for the package.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate.dispersion import check_elements, damping_of, package


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
        functional: what the energy is added to, a key of `sfm.simulate.dispersion.PARAMETERS`.
        three_body: add the Axilrod-Teller-Muto term.

    Raises:
        InputError: the functional has no parameters, an element has none, shapes disagree, or the
            package is missing.
    """
    damping = damping_of(functional)
    if positions.shape != (*numbers.shape, 3):
        raise InputError(
            f"D3 dispersion: positions {tuple(positions.shape)} do not fit atomic numbers "
            f"{tuple(numbers.shape)}; give (A, 3) for (A,)"
        )
    check_elements(numbers)
    tad_dftd3 = package()
    if numbers.shape[-1] < 2:
        return 0.0 * positions.sum((-2, -1))
    values = {"s6": 1.0, "s9": 1.0 if three_body else 0.0, "alp": 14.0, **damping._asdict()}
    dtype, device = positions.dtype, positions.device
    parameters = {
        key: torch.tensor(value, dtype=dtype, device=device) for key, value in values.items()
    }
    reference = tad_dftd3.reference.Reference(dtype=dtype, device=device)
    energy: Tensor = tad_dftd3.dftd3(numbers, positions, parameters, ref=reference)
    return energy.sum(-1)
