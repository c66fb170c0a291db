"""Exchange-correlation functionals: what one reads, what one returns, and those with names.

    functional("PBE")(density)  ->  XcEnergy(exchange, correlation), hartree per bohr^3

Values are libxc 7's (Lehtola et al., SoftwareX 7, 1 (2018)); ``FUNCTIONALS[name].libxc`` says
which of its functionals is meant.
"""

from __future__ import annotations

from sfm.errors import InputError, did_you_mean
from sfm_dft.xc.contract import Functional, Rung, XcEnergy
from sfm_dft.xc.density import GridDensity, GridPoints
from sfm_dft.xc.semilocal import (
    B3LYP,
    LDA,
    LDAVWN5,
    PBE,
    PBE0,
    R2SCAN,
    HartreeFock,
    Nothing,
    Semilocal,
)

FUNCTIONALS: dict[str, type[Semilocal]] = {
    "LDA": LDA,
    "LDA-VWN5": LDAVWN5,
    "PBE": PBE,
    "r2SCAN": R2SCAN,
    "PBE0": PBE0,
    "B3LYP": B3LYP,
    "HF": HartreeFock,
    "none": Nothing,
}


def functional(name: str) -> Semilocal:
    """The functional called ``name``.

    Raises:
        InputError: no functional has that name.
    """
    if name not in FUNCTIONALS:
        raise InputError(
            f"functional '{name}' is not known.{did_you_mean(name, FUNCTIONALS)} "
            f"Choose one of {', '.join(FUNCTIONALS)}"
        )
    return FUNCTIONALS[name]()


__all__ = [
    "FUNCTIONALS",
    "Functional",
    "GridDensity",
    "GridPoints",
    "Rung",
    "XcEnergy",
    "functional",
]
