"""Which classical energy a simulator of crystals has: parameters, settings, usual values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from sfm.errors import InputError
from sfm.simulate.base import Parameter, Setting

EPSILON = Parameter("epsilon", "eV", 0.0104, 1e-6, 100.0, "energy scale; argon 0.0104, Si 2.1683")
SIGMA = Parameter("sigma", "angstrom", 3.40, 0.1, 20.0, "length scale; argon 3.40, Si 2.0951")
THREE_BODY = Parameter("three_body", "1", 21.0, 0.0, 1000.0, "lambda of Stillinger-Weber; Si 21")
POTENTIAL = Setting(
    "potential",
    "auto",
    ("auto", "lennard-jones", "stillinger-weber", "none"),
    summary="classical energy; auto: none with a closure, else lennard-jones",
)
CUTOFF = Setting("cutoff", 3.0, summary="of lennard-jones, in units of sigma")
SWITCH = Setting(
    "switch", "quintic", ("quintic", "xplor", "shift"), summary="how lennard-jones ends"
)
# Argon: N. Bernardes, Phys. Rev. 112, 1534 (1958); silicon: Stillinger & Weber (1985)
USUAL: Mapping[str, Mapping[str, float]] = {
    "lennard-jones": {"epsilon": 0.0104, "sigma": 3.40},
    "stillinger-weber": {"epsilon": 2.1683, "sigma": 2.0951},
}


def with_potential(
    part: str, closure: nn.Module | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    """`values` with the potential that `auto` stands for, and its usual parameters where not given.

    Args:
        part: of the simulator, for messages.
        closure: the learned energy, if there is one.
        values: parameters and settings as the user gives them.

    Raises:
        InputError: there is neither a potential nor a closure.
    """
    name = values.get("potential", "auto")
    if name == "auto":
        name = "lennard-jones" if closure is None else "none"
    if name == "none" and closure is None:
        raise InputError(
            f"{part}: potential=none leaves no energy; give a closure, or choose "
            "lennard-jones or stillinger-weber"
        )
    return {**USUAL.get(name, {}), **values, "potential": name}
