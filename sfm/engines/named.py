"""An ASE calculator by the name of a model: what workflow engines store, and call elsewhere.

jobflow, atomate2 and quacc keep a calculator as a path to import and arguments in JSON. The path is
`sfm.engines.named.sfm_calculator`; a calculator itself, which holds weights, is never stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sfm.model import FoundationModel

if TYPE_CHECKING:
    from sfm.model.calculator import SfmCalculator


def sfm_calculator(
    model: str,
    *,
    level: str | None = None,
    domain: str | None = None,
    extrapolate: bool = False,
    compiled: bool = False,
    double: bool = False,
    device: str | None = None,
    **options: Any,
) -> SfmCalculator:
    """The calculator of a model; energies in eV, forces in eV/angstrom, stress in eV/angstrom^3.

    Args:
        model: bundled name, folder or Hub id.
        level: level of theory; needed where the model knows several.
        domain: `crystals` for periodic, `molecules` for open atoms if None.
        extrapolate: warn of what lies outside the training data instead of refusing it.
        compiled: use compiled kernels on a CPU (`sfm.nn.compiled`), twice as fast.
        double: in float64, for relaxations below 1e-3 eV/angstrom.
        device: where the network runs, as torch calls it; None: where it is loaded.
        options: of `FoundationModel.from_pretrained`: `revision` pins a Hub model.

    Raises:
        HubError: there is no such model.
        InputError: an unknown domain or level, or several levels of which none is named.
    """
    loaded = FoundationModel.from_pretrained(model, **options)
    if double:
        loaded = loaded.double()
    if device is not None:
        loaded = loaded.to(device)
    calculator: SfmCalculator = loaded.calculator(
        level=level, domain=domain, extrapolate=extrapolate, compiled=compiled
    )
    return calculator
