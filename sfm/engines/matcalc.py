"""matcalc: `load_fp("sfm-tiny")`, the call by which its users get a potential.

matcalc 0.7 has no door for models from outside: names are in a public table, but the functions that
load them in a private one. So this `load_fp` stands for matcalc's, and passes its names on.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sfm.engines.named import sfm_calculator

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


def load_fp(name: str | Calculator, **options: Any) -> Calculator:
    """A calculator by name, as `matcalc.load_fp`.

    Args:
        name: a model of matcalc's, where it is installed; any other is ours, a bundled name, a
            folder or a Hub id. A calculator comes back as it is.
        options: of `sfm.engines.named.sfm_calculator`, or of matcalc's loader.

    Raises:
        HubError: there is no such model.
        InputError: an unknown domain or level, or several levels of which none is named.
        ImportError: a model of matcalc's whose package is missing.
    """
    if not isinstance(name, str):
        return name
    if find_spec("matcalc") is not None:
        from matcalc.utils import MODEL_ALIASES, MODEL_REGISTRY, PESCalculator

        if name.lower() in {known.lower() for known in (*MODEL_REGISTRY, *MODEL_ALIASES)}:
            calculator: Calculator = PESCalculator.load_universal(name, **options)
            return calculator
    return sfm_calculator(name, **options)
