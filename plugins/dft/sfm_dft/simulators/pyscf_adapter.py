"""Our functionals inside PySCF: `mf = sfm_dft.pyscf(mol, functional)`.

PySCF asks its numerical integrator for three things: the kind of functional, the fraction of exact
exchange, and, at points of the density, the energy with its derivatives (`eval_xc_eff`). Those are
given here, for one object, through `define_xc_`; nothing of PySCF is subclassed or changed for
others. First and second derivatives are autograd's, by the density, the three components of its
gradient and tau of each spin.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfm.errors import InputError
from sfm_dft.grid.molecular import CHANNELS
from sfm_dft.simulators.functional_names import find_functional
from sfm_dft.xc.contract import Functional
from sfm_dft.xc.density import GridDensity
from sfm_dft.xc.reduced import DENSITY_FLOOR

POINTS = 8192  # evaluated at once, so that a network's layers stay in a processor's cache
KINDS = {"lda": "LDA", "gga": "GGA", "mgga": "MGGA"}
WITHOUT_LAPLACIAN = [0, 1, 2, 3, 5]


def mean_field(
    mol: Any,
    functional: Functional | str | Path,
    *,
    density_fit: bool | str = False,
    unrestricted: bool = False,
) -> Any:
    """A PySCF mean field (RKS, or UKS with unpaired electrons) with this functional.

        mf = sfm_dft.pyscf(mol, "r2SCAN")
        mf.kernel(); mf.nuc_grad_method().kernel(); mf.newton(); mf.Hessian(); mf.TDA()

    Energies, potentials, second derivatives (`newton`, TDDFT, polarizability, Hessian) and nuclear
    gradients with or without `grid_response` work as with PySCF's own functionals. Third
    derivatives (gradients of excited states) are refused. Weights are read at every evaluation, so
    they may change between two runs.

    Args:
        mol: a PySCF molecule; periodic cells are refused.
        functional: a pointwise `Functional`, a name of `sfm_dft.xc`, or a folder or Hub id of a
            learned one.
        density_fit: True, or an auxiliary basis by PySCF's name.
        unrestricted: UKS even where no electron is unpaired.

    Raises:
        InputError: not a functional, one that is not pointwise, a name that nothing has, weights
            that are not float64, a periodic cell.
    """
    from pyscf import dft

    if hasattr(mol, "lattice_vectors"):
        raise InputError("sfm_dft.pyscf takes molecules (pyscf.gto.Mole), not periodic cells")
    chosen = _found(functional)
    mf = (dft.UKS if mol.spin or unrestricted else dft.RKS)(mol)
    # parts of PySCF read whether it is a hybrid from this string, others from the hook
    mf.xc = f"{chosen.exact_exchange}*HF" if chosen.exact_exchange else ""
    if density_fit:
        mf = mf.density_fit(auxbasis=None if density_fit is True else density_fit)
    evaluation = Evaluation(chosen, mf.xc)
    mf.define_xc_(evaluation.by_sigma, KINDS[chosen.rung], hyb=chosen.exact_exchange)
    mf._numint.eval_xc_eff = evaluation
    return mf


def _found(functional_or_name: Functional | str | Path) -> Functional:
    functional = find_functional(functional_or_name)
    if not functional.pointwise:
        raise InputError(
            f"{type(functional).__name__} is not pointwise: PySCF hands over points piece by "
            "piece, so only functionals with pointwise=True run there; use dft/kohn-sham"
        )
    for name, weight in functional.named_parameters():
        if weight.dtype != torch.float64:
            raise InputError(f"{name} is {weight.dtype}: call functional.double() first")
    return functional


class Evaluation:
    """What PySCF calls with densities: `eval_xc_eff` of its numerical integrator."""

    def __init__(self, functional: Functional, xc: str) -> None:
        self.functional = functional
        self.xc = xc

    def __call__(
        self,
        xc_code: str,
        rho: Any,
        deriv: int = 1,
        omega: float | None = None,
        xctype: str | None = None,
        verbose: Any = None,
        spin: int | None = None,
    ) -> list[np.ndarray | None]:
        """Energy per electron (N,), its derivatives, and theirs, by the density's fields.

        rho: (c, N) of the total density, or (2, c, N) of each spin: density, gradient, tau, and the
        Laplacian before tau in some of PySCF's calls; c may be left out for an LDA. Returns
        [(N,), (c, N), (c, c, N), None] or [(N,), (2, c, N), (2, c, 2, c, N), None].
        """
        if xc_code != self.xc:
            raise InputError(
                f"mf.xc was set to {xc_code!r}, but this mean field has the functional "
                f"{type(self.functional).__name__}: make another with sfm_dft.pyscf"
            )
        if deriv > 2:
            raise InputError(
                "functionals in PySCF have two derivatives, not three: no gradients "
                "of excited states"
            )
        if omega:
            raise InputError("range separation (omega) is not part of these functionals")
        fields = np.asarray(rho, dtype=np.float64)
        if spin is None:
            spin = int(fields.ndim >= 2 and fields.shape[0] == 2)
        fields = fields.reshape(spin + 1, -1, fields.shape[-1])
        if self.functional.rung == "mgga" and fields.shape[1] == 6:
            fields = fields[:, WITHOUT_LAPLACIAN]
        fields = fields[:, : CHANNELS[self.functional.rung]]
        values = self._values(fields, deriv)
        if spin == 0:  # the one spin's axis is not there
            values[1:2] = [first[0] for first in values[1:2]]
            values[2:3] = [second[0, :, 0] for second in values[2:3]]
        return [*values, *[None] * (4 - len(values))]

    def by_sigma(self, *_: Any, **__: Any) -> None:
        """PySCF's older interface, by contracted gradients; nothing that is supported uses it."""
        raise InputError("this part of PySCF (eval_xc) does not work with functionals of sfm_dft")

    def _values(self, fields: np.ndarray, deriv: int) -> list[np.ndarray]:
        weight = next(self.functional.parameters(), None)
        device = torch.device("cpu") if weight is None else weight.device
        pieces = [
            list(
                self._piece(torch.tensor(fields[..., start : start + POINTS], device=device), deriv)
            )
            for start in range(0, fields.shape[-1], POINTS)
        ]
        return [torch.cat(parts, -1).cpu().numpy() for parts in zip(*pieces, strict=True)]

    def _piece(self, fields: Tensor, deriv: int) -> Iterator[Tensor]:
        """Of fields (s, c, G), s = 1 for the total density of a closed shell."""
        with torch.enable_grad():
            fields.requires_grad_()
            spins = 0.5 * fields if len(fields) == 1 else fields
            density = GridDensity(
                spins[:, 0],
                None if self.functional.rung == "lda" else spins[:, 1:4],
                spins[:, 4] if self.functional.rung == "mgga" else None,
            )
            energy = torch.stack(list(self.functional(density))).sum(0)
            total = density.total.detach()
            counted = total > DENSITY_FLOOR
            yield torch.where(counted, energy.detach() / torch.where(counted, total, 1.0), 0.0)
            if deriv == 0:
                return
            (first,) = torch.autograd.grad(energy.sum(), fields, create_graph=deriv > 1)
            yield first.detach()
            if deriv == 1:
                return
            if not first.requires_grad:  # an energy linear in the density, or none
                yield first.new_zeros(*first.shape[:2], *first.shape)
                return
            rows = [
                torch.autograd.grad(row.sum(), fields, retain_graph=True)[0]
                for row in first.flatten(0, 1)
            ]
            yield torch.stack(rows).view(*first.shape[:2], *first.shape)
