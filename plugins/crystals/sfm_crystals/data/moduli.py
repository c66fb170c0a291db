"""Bulk modulus of a crystal from the stresses of two copies, one larger and one smaller.

Voigt's average is K = C_iijj / 9 (R. Hill, Proc. Phys. Soc. A 65, 349 (1952)), so that a strain of
e in all three directions changes the trace of the stress by 9 K e. Atoms keep their fractional
coordinates ("clamped").
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

STRAINS = {"+": 0.01, "-": -0.01}  # of each edge, by the name of the copy


def bulk_modulus(larger: Float[np.ndarray, "3 3"], smaller: Float[np.ndarray, "3 3"]) -> float:
    """Voigt's bulk modulus, in the unit of the stresses; the rest's own stress drops out.

    larger, smaller: (3, 3) stresses under `STRAINS`, positive in tension.
    """
    return float(np.trace(larger - smaller) / (9 * (STRAINS["+"] - STRAINS["-"])))
