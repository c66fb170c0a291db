"""GFN1-xTB, a self-consistent tight-binding energy of valence electrons, through dxtb.

S. Grimme, C. Bannwarth, P. Shushkov, J. Chem. Theory Comput. 13, 1989 (2017); dxtb: M. Friede,
C. Hoelzer, S. Ehlert, S. Grimme, J. Chem. Phys. 161, 062501 (2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sfm.data.elements import SYMBOLS
from sfm.errors import InputError, PluginError, RunError
from sfm_molecules.constants import BOHR, HARTREE

LAST = 86  # radon: the last element that GFN1 has parameters of
# where dxtb has the global parameters of GFN1
PLACES: Mapping[str, tuple[str, ...]] = {
    "k_ss": ("hamiltonian", "xtb", "shell", "ss"),
    "k_sp": ("hamiltonian", "xtb", "shell", "sp"),
    "k_pp": ("hamiltonian", "xtb", "shell", "pp"),
    "k_en": ("hamiltonian", "xtb", "enscale"),
    "k_rep": ("repulsion", "effective", "kexp"),
    "s8": ("dispersion", "d3", "s8"),
    "a1": ("dispersion", "d3", "a1"),
    "a2": ("dispersion", "d3", "a2"),
}
# charges agree to this, so that energies do to its square
OPTIONS = {
    "verbosity": 0,
    "x_atol": 1e-9,
    "x_atol_max": 1e-8,
    "f_atol": 1e-9,
    "maxiter": 200,
    "force_convergence": True,
}


class TightBinding:
    """`(positions, types, system, charge, spin, parameters) -> energies (S,)` in eV.

    Energies count from free atoms' cores and valence electrons, as those of xtb and tblite do.
    Differentiable twice, in positions and in the parameters.

    Raises:
        PluginError: dxtb is not installed.
        InputError: in a call, an element beyond radon.
        RunError: in a call, the charges found no self-consistency.
    """

    def __init__(self) -> None:
        self._tables: dict[tuple[torch.dtype, torch.device], Any] = {}

    def __call__(
        self,
        positions: Tensor,
        types: Tensor,
        system: Tensor,
        charge: Tensor,
        spin: Tensor,
        parameters: Mapping[str, Tensor],
    ) -> Tensor:
        """Energies (S,) in eV.

        Args:
            positions: (N, 3) angstrom.
            types: (N,) atomic numbers.
            system: (N,) index of each atom's molecule, ascending.
            charge: (S,) e. spin: (S,) unpaired electrons.
            parameters: () each, those of `PLACES`.
        """
        dxtb = _dxtb()
        if int(types.max()) > LAST:
            symbol = SYMBOLS[int(types.max())]
            raise InputError(
                f"GFN1-xTB ends with {SYMBOLS[LAST]}: it has no parameters of {symbol}"
            )
        tables = self._filled(parameters, positions)
        counts = torch.bincount(system).tolist()
        dd = {"dtype": positions.dtype, "device": positions.device}
        energies = []
        for n, (x, z) in enumerate(zip(positions.split(counts), types.split(counts), strict=True)):
            calculator = dxtb.Calculator(z, tables, opts=dict(OPTIONS), **dd)
            try:
                energy = calculator.get_energy(x / BOHR, chrg=charge[n].to(x), spin=spin[n].to(x))
            except RuntimeError as error:
                if "SCFConv" not in type(error).__name__:
                    raise  # autograd says itself what it cannot do
                text = " ".join(str(error).split())[:200]
                raise RunError(f"molecule {n + 1}: no self-consistent charges ({text})") from None
            energies.append(energy * HARTREE)
        return torch.stack(energies)

    def _filled(self, parameters: Mapping[str, Tensor], like: Tensor) -> Any:
        """dxtb's tables in the precision of `like`, with our parameters in their places."""
        dxtb, key = _dxtb(), (like.dtype, like.device)
        if key not in self._tables:
            self._tables[key] = dxtb.ParamModule(
                dxtb.GFN1_XTB, dtype=like.dtype, device=like.device
            ).requires_grad_(False)
        tables = self._tables[key]
        for name, value in parameters.items():
            leaf = tables.parameter_tree
            for word in PLACES[name]:
                leaf = leaf[word]
            leaf._parameters.pop("param", None)  # any tensor may stand there, a parameter or not
            leaf.param = value.to(like)
        return tables


def _dxtb() -> Any:
    """The package, which is optional.

    Raises:
        PluginError: it is not installed.
    """
    try:
        import dxtb
    except ModuleNotFoundError:
        raise PluginError(
            "GFN1-xTB needs dxtb; install it with: pip install 'sfm-hub[molecules,tight-binding]'"
        ) from None
    return dxtb
