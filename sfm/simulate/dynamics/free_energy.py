"""Differences of free energy between two potentials.

Thermodynamic integration, A_1 - A_0 = int_0^1 <U_1 - U_0>_s ds along U_s = (1 - s) U_0 + s U_1:
J. G. Kirkwood, J. Chem. Phys. 3, 300 (1935). From an Einstein crystal: D. Frenkel, A. J. C. Ladd,
J. Chem. Phys. 81, 3188 (1984). All samples at once: M. R. Shirts, J. D. Chodera, J. Chem. Phys.
129, 124105 (2008), through `pymbar` (`pip install 'sfm-hub[free-energy]'`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from sfm.data.tokens import system_sum
from sfm.errors import InputError, PluginError


class Coupled(nn.Module):
    """A closure on the way from one potential to another.

    Args:
        one, other: closures, energies (S,) eV of the same arguments; any callable.
        share: s, of the other; a parameter.
    """

    def __init__(
        self,
        one: Callable[..., Tensor],
        other: Callable[..., Tensor],
        share: float,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.one, self.other = one, other
        self.share = nn.Parameter(torch.tensor(share, dtype=dtype))

    def forward(self, *arguments: Shaped[Tensor, " ..."]) -> Float[Tensor, " S"]:
        """(S,) eV."""
        return (1 - self.share) * self.one(*arguments) + self.share * self.other(*arguments)

    def slope(self, *arguments: Shaped[Tensor, " ..."]) -> Float[Tensor, " S"]:
        """(S,) eV: the other potential less the one, which is the derivative in `share`."""
        return self.other(*arguments) - self.one(*arguments)


class Springs(nn.Module):
    """An Einstein crystal: every atom on a spring to its site; a closure of any plugin.

    E = k / 2 sum |x - site|^2; without a fixed centre of mass, A = 3 N / 2 k_B T ln(k) + a term
    that does not depend on k.

    Args:
        sites: (N, 3) angstrom, of all atoms of a batch.
        stiffness: k, eV/angstrom^2; a parameter.
    """

    sites: Float[Tensor, "N 3"]

    def __init__(self, sites: Tensor, stiffness: float) -> None:
        super().__init__()
        self.register_buffer("sites", sites.detach().clone())
        self.stiffness = nn.Parameter(torch.tensor(stiffness, dtype=sites.dtype))

    def forward(
        self,
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        *rest: Shaped[Tensor, " ..."],
    ) -> Float[Tensor, " S"]:
        """(S,) eV; the last argument is the index (N,) of each atom's system."""
        system = rest[-1]
        away = (positions - self.sites).square().sum(1)
        return 0.5 * self.stiffness * system_sum(away, system, int(system[-1]) + 1)


def nodes(points: int) -> tuple[list[float], list[float]]:
    """Shares s at which to sample, and their weights: Gauss and Legendre's, exact for polynomials
    of degree 2 `points` - 1, without unit."""
    places, weight = np.polynomial.legendre.leggauss(points)
    return ((places + 1) / 2).tolist(), (weight / 2).tolist()


def integrated(means: Float[Tensor, " L"], weight: list[float]) -> Float[Tensor, ""]:
    """() eV: A_1 - A_0 of the means (L,) eV of U_1 - U_0 at the `nodes`, whose weights are given.

    Raises:
        InputError: another number of weights.
    """
    if len(means) != len(weight):
        raise InputError(f"free energy: {len(means)} means for {len(weight)} nodes")
    return (means * means.new_tensor(weight)).sum()


def standard_error(values: Float[Tensor, " T *axes"], blocks: int = 10) -> Float[Tensor, "*axes"]:
    """(...) of the mean of a series (T, ...), from the means of `blocks` pieces one after another.

    Pieces longer than the series remembers are independent. Values and errors have one unit.
    H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461 (1989). NaN for fewer than four values.
    """
    if len(values) < 4:
        return torch.full_like(values[0], torch.nan)
    blocks = min(blocks, len(values) // 2)
    size = len(values) // blocks
    means = values[-blocks * size :].reshape(blocks, size, *values.shape[1:]).mean(1)
    return means.std(0) / math.sqrt(blocks)


def independent(series: Float[Tensor, " T"]) -> Int[Tensor, " I"]:
    """(I,) places of values in a series (T,), of any unit, that know little of each other.

    Raises:
        PluginError: pymbar is not installed.
    """
    from_pymbar = _pymbar().timeseries
    if len(series) < 4 or float(series.std()) == 0:
        return torch.arange(len(series))
    places = from_pymbar.subsample_correlated_data(series.detach().cpu().double().numpy())
    return torch.tensor(list(places), dtype=torch.long)


def _pymbar() -> Any:
    try:
        import pymbar
    except ImportError:
        raise PluginError(
            "MBAR needs the package 'pymbar'; install it with: pip install 'sfm-hub[free-energy]'"
        ) from None
    return pymbar


def mbar(
    reduced: Float[Tensor, "K T"], counts: list[int]
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """(K,) free energies of K states less that of the first, in k_B T, and their errors (K,).

    Args:
        reduced: (K, T) reduced energies, without unit, of all samples under each state, the
            samples of the first state first.
        counts: (K,) samples drawn from each; they have to be independent.

    Raises:
        PluginError: pymbar is not installed.
        InputError: the counts do not add up to T.
    """
    solver = _pymbar().MBAR
    if sum(counts) != reduced.shape[1]:
        raise InputError(f"MBAR: counts add up to {sum(counts)}, not {reduced.shape[1]} samples")
    solved = solver(
        reduced.detach().cpu().double().numpy(), np.array(counts), solver_protocol="robust"
    )
    answer = solved.compute_free_energy_differences()
    return torch.from_numpy(answer["Delta_f"][0]), torch.from_numpy(answer["dDelta_f"][0])
